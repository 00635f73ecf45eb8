"""Writes settings and loads them."""

import pathlib
from collections.abc import Callable

import pytest

from worker.core.model.errors import SettingsError
from worker.settings import loader, model

SOURCES = '[[sources]]\npath = "membership.yaml"\n'

Load = Callable[..., model.Settings]
Refused = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: pathlib.Path) -> Load:
    """Write a settings file, and load it with an environment; sources are added by default."""

    def load_settings(text: str = "", *, sources: str = SOURCES, **environ: str) -> model.Settings:
        path = tmp_path / "fleet-sync.toml"
        path.write_text(text + sources)
        return loader.load(path, environ)

    return load_settings


@pytest.fixture
def refused(load: Load, tmp_path: pathlib.Path) -> Refused:
    """Write a settings file, and give the problems for which it is refused, each after the file's folder."""

    def load_problems(text: str = "", *, sources: str = SOURCES, **environ: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load(text, sources=sources, **environ)
        assert "fleet-sync check" in caught.value.remedy
        return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]

    return load_problems
