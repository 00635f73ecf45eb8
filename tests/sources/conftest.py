"""Writes documents and reads them, through the one door that the program has."""

import pathlib
from collections.abc import Callable

import anyio
import pytest

from worker.core.model.desired import SourceReading
from worker.core.model.errors import SourceError
from worker.sources import file_source

Read = Callable[[str, str | bytes], SourceReading]
Refused = Callable[[str, str | bytes], list[str]]


@pytest.fixture
def read(tmp_path: pathlib.Path) -> Read:
    """Write a document under a name, and read it as a source of that name."""

    def read_document(name: str, text: str | bytes) -> SourceReading:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return anyio.run(file_source.FileSource(path, name).read)

    return read_document


@pytest.fixture
def refused(read: Read) -> Refused:
    """Write a document, and give the problems for which it is refused, one line each."""

    def read_problems(name: str, text: str | bytes) -> list[str]:
        with pytest.raises(SourceError) as caught:
            read(name, text)
        return [str(problem) for problem in caught.value.problems]

    return read_problems
