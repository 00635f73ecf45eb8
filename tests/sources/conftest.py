"""Fixtures that write documents and read them the way the program does."""

import pathlib
from collections.abc import Callable

import anyio
import pytest

from tests.support import file_sources
from worker.core.model.desired import SourceReading
from worker.core.model.errors import SourceError

Read = Callable[[str, str | bytes], SourceReading]
Refused = Callable[[str, str | bytes], list[str]]


@pytest.fixture
def read(tmp_path: pathlib.Path) -> Read:
    """Return a function that writes a document to a file and reads it as a source of the same name."""

    def read_document(name: str, text: str | bytes) -> SourceReading:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return anyio.run(file_sources.of(path, name).read)

    return read_document


@pytest.fixture
def refused(read: Read) -> Refused:
    """Return a function that writes a document and returns the problems why it is refused, one line each."""

    def read_problems(name: str, text: str | bytes) -> list[str]:
        with pytest.raises(SourceError) as caught:
            read(name, text)
        return [str(problem) for problem in caught.value.problems]

    return read_problems
