"""Membership documents on disk: one file, or a folder of them.

Invariant: a reading is whole. What cannot be read, says nothing, or changes while it is read is an error, and so is
a file in the folder that is no document: what is passed over in silence is taken for absent later.
Neighbours: one `…_document` module for each format, imported when a file needs it; `documents` has the meaning.
"""

import dataclasses
import hashlib
import pathlib
import stat
from collections.abc import Mapping

from anyio import to_thread

from worker.core.model.desired import SourceReading, SourceRevision
from worker.core.model.errors import SourceError
from worker.core.model.problem import Problem
from worker.sources import membership_document, positions

SUFFIXES = (".yaml", ".yml", ".json", ".toml", ".csv")

_KIND = "file"
_ATTEMPTS = 3

_Signature = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class FileSource:
    """A file, or a folder of files; `name` is what places are called after: the path as the settings write it."""

    path: pathlib.Path
    name: str

    async def read(self) -> SourceReading:
        """Read every document, beside the event loop. Raises errors.SourceError with all problems of all of them."""
        return await to_thread.run_sync(self._read)

    def _read(self) -> SourceReading:
        contents = self._bytes()
        read = [_document(name, data) for name, data in contents.items()]
        if problems := [problem for one in read for problem in one.problems]:
            raise SourceError(problems)
        fleets = tuple(fleet for one in read for fleet in one.fleets)
        rows = tuple(row for one in read for row in one.rows)
        revision = SourceRevision(_KIND, self.name, _revision(contents))
        return SourceReading(revision, fleets, rows)

    def _bytes(self) -> Mapping[str, bytes]:
        """Read all bytes, by name in order, such that all of them stood there at one moment."""
        for _ in range(_ATTEMPTS):
            before = self._listing()
            contents = {name: _content(name, path) for name, (path, _) in before.items()}
            if self._listing() == before:
                return contents
        raise _error(self.name, "it changes while it is read: write it elsewhere, and rename it into its place")

    def _listing(self) -> Mapping[str, tuple[pathlib.Path, _Signature]]:
        """Find the documents, following links, with what tells one content from the next."""
        paths = _entries(self.name, self.path)
        if paths is None:
            found = {self.name: self.path}
        elif paths:
            found = {f"{self.name.rstrip('/')}/{path.name}": path for path in paths}
        else:
            raise _error(self.name, f"the folder holds no document: put one there ({', '.join(SUFFIXES)})")
        listing: dict[str, tuple[pathlib.Path, _Signature]] = {}
        problems = list[Problem]()
        for name, path in found.items():
            try:
                listing[name] = path, _signature(name, path)
            except SourceError as error:
                problems.extend(error.problems)
        if problems:
            raise SourceError(problems)
        return listing


def _entries(name: str, folder: pathlib.Path) -> list[pathlib.Path] | None:
    """List what is in a folder and not hidden, in order; `None` where the path is no folder.

    A Kubernetes ConfigMap keeps its generations in hidden folders, with links to the present one beside them.
    """
    try:
        if not folder.is_dir():
            return None
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise _error(name, f"the folder cannot be read ({error.strerror}): see to its permissions") from None


def _signature(name: str, path: pathlib.Path) -> _Signature:
    if not name.isascii() and name.encode(errors="replace").decode() != name:
        raise _error(ascii(name), "its name is not UTF-8: rename it")
    try:
        found = path.stat()
    except FileNotFoundError:
        raise _error(name, "there is no such file: correct the path, or begin with `fleet-sync export`") from None
    except OSError as error:
        raise _unreadable(name, error) from None
    if stat.S_ISDIR(found.st_mode):
        raise _error(name, "a folder within the folder is not read: move its documents up, or name it as a source")
    if not stat.S_ISREG(found.st_mode):
        raise _error(name, "not a regular file: write the document to one")
    if path.suffix.lower() not in SUFFIXES:
        raise _error(name, f"no membership document by its name: {', '.join(SUFFIXES)} are read; remove or rename it")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _content(name: str, path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(positions.LIMIT + 1)
    except OSError as error:
        raise _unreadable(name, error) from None


def _document(name: str, data: bytes) -> membership_document.Contents:
    try:
        text = positions.decode(data)
        if not text.strip():
            raise positions.Malformed(
                (1, 1), "the document is empty: a source that names no fleet is taken for a mistake"
            )
        return membership_document.read(_parse(pathlib.PurePath(name).suffix.lower(), text), name)
    except positions.Malformed as malformed:
        return membership_document.Contents(
            (), (), (membership_document.problem(name, malformed.place, malformed.message),)
        )


def _parse(suffix: str, text: str) -> positions.Document:
    match suffix:
        case ".yaml" | ".yml":
            from worker.sources.formats import yaml_format

            return yaml_format.parse(text)
        case ".json":
            from worker.sources.formats import json_format

            return json_format.parse(text)
        case ".toml":
            from worker.sources.formats import toml_format

            return toml_format.parse(text, texts=True)
        case _:
            from worker.sources.formats import csv_format

            return csv_format.parse(text)


def _revision(contents: Mapping[str, bytes]) -> str:
    """Hash what was read; for several documents the hash of their names and hashes."""
    hashes = [(name, hashlib.sha256(data).hexdigest()) for name, data in contents.items()]
    if len(hashes) == 1:
        return f"sha256:{hashes[0][1]}"
    listing = "".join(f"{name}\0{digest}\n" for name, digest in hashes)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def _unreadable(name: str, error: OSError) -> SourceError:
    return _error(name, f"it cannot be read ({error.strerror}): see to its permissions")


def _error(name: str, message: str) -> SourceError:
    return SourceError([Problem(name, message)])
