"""The address of the webhook: from the settings or a file, and a secret."""

import pathlib

import pytest

from tests.settings import conftest
from worker.core.model.errors import SettingsError
from worker.settings import hook

URL = "https://hooks.example/services/Sesame"


def problem(load: conftest.Load, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        hook.address(load(text))
    assert "Sesame" not in str(caught.value)
    return str(caught.value)


def test_nobody_is_told_by_default(load: conftest.Load) -> None:
    assert hook.address(load()) is None


def test_the_address_stands_in_the_settings_or_the_environment(load: conftest.Load) -> None:
    for settings in (load(f"notify.url = '{URL}'\n"), load(FLEET_SYNC_NOTIFY__URL=URL)):
        found = hook.address(settings)
        assert found is not None and found.reveal() == URL
        assert "Sesame" not in f"{found} {found!r}"


def test_the_address_may_stand_in_a_file_beside_the_settings(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "hook").write_text(f"{URL}\n")
    found = hook.address(load("notify.url_file = 'hook'\n"))
    assert found is not None and found.reveal() == URL


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "it is empty"), ("http://h/Sesame", "plain http"), ("Sesame", "no address"), (f"{URL}\n{URL}", "a space")],
)
def test_a_file_without_a_usable_address_is_refused_unrepeated(
    content: str, words: str, load: conftest.Load, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "hook").write_text(content)
    found = problem(load, "notify.url_file = 'hook'\n")
    assert found.startswith("notify.url_file (")
    assert words in found


def test_an_address_in_place_of_the_path_of_its_file_is_not_shown(load: conftest.Load) -> None:
    assert "this is an address, and no path" in problem(load, f"notify.url_file = '{URL}'\n")
    assert "cannot be read" in problem(load, "notify.url_file = 'nowhere'\n")
