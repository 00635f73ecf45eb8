"""`init` writes both files or neither. `tests/e2e/test_init` tests the rest."""

import pathlib

import pytest

from worker.cli import init
from worker.core.model.errors import SettingsError
from worker.settings import loader


def test_where_the_second_file_cannot_be_written_the_first_is_taken_back(tmp_path: pathlib.Path) -> None:
    """Otherwise the next call would refuse to overwrite it."""
    settings = tmp_path / "fleet-sync.toml"
    settings.write_text('[[sources]]\npath = "membership.yaml"\n')
    blocked = tmp_path / "file"
    blocked.write_text("mine")
    new = init._NewAccount(tmp_path / "new/acme.toml", blocked / "acme.yaml", "text", loader.load(settings, {}))
    with pytest.raises(SettingsError, match=r"file/acme\.yaml: this file cannot be written") as caught:
        init._write(new, "document", edit="")
    assert "Nothing was written" in caught.value.remedy
    assert list((tmp_path / "new").iterdir()) == []
    assert blocked.read_text() == "mine"


def test_a_file_that_was_made_meanwhile_is_kept(tmp_path: pathlib.Path) -> None:
    settings = tmp_path / "fleet-sync.toml"
    settings.write_text('[[sources]]\npath = "membership.yaml"\n')
    theirs = tmp_path / "acme.yaml"
    theirs.write_text("theirs")
    new = init._NewAccount(tmp_path / "acme.toml", theirs, "text", loader.load(settings, {}))
    with pytest.raises(SettingsError):
        init._write(new, "document", edit="")
    assert theirs.read_text() == "theirs"
    assert not (tmp_path / "acme.toml").exists()
