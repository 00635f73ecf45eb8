"""Files with secrets: what is read of them, and what is refused without showing it."""

import os
import pathlib

import pytest

from worker.core.model.errors import SourceError
from worker.sources import secret_files


def read(path: pathlib.Path) -> str:
    return secret_files.read(path, name="hr", setting="token_file").reveal()


@pytest.mark.parametrize("content", ["Sesame", " Sesame\r\n\n", "\tSesame"])
def test_a_secret_is_read_without_the_spaces_around_it(content: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text(content)
    assert read(tmp_path / "token") == "Sesame"


def test_a_secret_may_be_as_large_as_the_limit(tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text("x" * secret_files.MAX_BYTES)
    assert read(tmp_path / "token") == "x" * secret_files.MAX_BYTES
    (tmp_path / "token").write_text("x" * secret_files.MAX_BYTES + "\n")
    with pytest.raises(SourceError, match="contains more than a secret"):
        read(tmp_path / "token")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: write the secret to it"),
        (b" \n", "is empty: write the secret to it"),
        (b"Sesame \xff", "not valid UTF-8 text"),
        (b"Sesame ch_sk_live_x", "a Charge key must never be sent to another service"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(content: bytes, message: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        read(tmp_path / "token")
    assert caught.value.code == "source_unauthorized"
    assert "hr: token_file: " in str(caught.value) and "Sesame" not in str(caught.value)


def test_what_is_no_file_is_refused_and_blocks_nothing(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "is not a regular file"), (".", "is not a regular file"), ("none", "No such file")):
        with pytest.raises(SourceError, match=message):
            read(tmp_path / name)
    with pytest.raises(SourceError, match="not a valid path"):
        read(pathlib.Path("\0"))
