"""The token of the status server: from the environment or a file, and never shown."""

import os
import pathlib

import pytest

from worker.core.model.errors import SettingsError
from worker.settings import token

TOKEN = "Sesame-0123456789abcdef"


def problem(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        token.status_token(environ)
    assert "FLEET_SYNC_STATUS_TOKEN" in caught.value.remedy
    assert "Sesame" not in str(caught.value)
    return str(caught.value)


def test_without_a_token_there_is_none() -> None:
    assert token.status_token({}) is None


def test_the_token_comes_from_the_environment_first(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}-of-the-file\n")
    of_file = {token.FILE_VARIABLE: str(path)}
    first, second = token.status_token({token.VARIABLE: TOKEN, **of_file}), token.status_token(of_file)
    assert first is not None and first.reveal() == TOKEN
    assert second is not None and second.reveal() == f"{TOKEN}-of-the-file"


def test_a_variable_that_is_set_to_nothing_is_not_set() -> None:
    """So that a compose file or a manifest may pass on what nobody gave."""
    assert token.status_token({token.VARIABLE: "", token.FILE_VARIABLE: ""}) is None


def test_a_token_of_nothing_but_spaces_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text(" \n")
    assert "the token is empty" in problem({token.VARIABLE: " "})
    assert "the token is empty" in problem({token.FILE_VARIABLE: str(tmp_path / "token")})


@pytest.mark.parametrize(
    "text", ["Sesame 0123456789", "Sesam\u00e9-0123456789", "Sesame-0123\n456789", "Sesame-012345\0789"]
)
def test_a_token_that_no_header_can_carry_is_refused(text: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text(text)
    assert "make another" in problem({token.VARIABLE: text})
    assert "make another" in problem({token.FILE_VARIABLE: str(tmp_path / "token")})


def test_the_key_of_the_account_is_no_token() -> None:
    assert "a Charge key" in problem({token.VARIABLE: "ch_sk_live_Sesame0123456789"})


def test_a_token_in_place_of_the_path_of_its_file_is_not_shown(tmp_path: pathlib.Path) -> None:
    assert "cannot be read" in problem({token.FILE_VARIABLE: TOKEN})
    assert "this is no path" in problem({token.FILE_VARIABLE: "Sesame\0"})
    os.mkfifo(tmp_path / "pipe")
    assert "this is no file" in problem({token.FILE_VARIABLE: str(tmp_path / "pipe")})
    (tmp_path / "token").write_text("Sesame" * 1000)
    assert "more than a token" in problem({token.FILE_VARIABLE: str(tmp_path / "token")})
