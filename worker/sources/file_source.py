"""Read membership documents from disk: one file, or a folder of them.

Invariant: a reading is whole. A file that cannot be read, is empty, or changes while it is read is an error, and so is
a file in the folder that is not a document: its rows would count as absent if it were skipped.
Neighbours: `formats` parses documents and is imported when a file needs it; `membership_document` interprets them.
"""

import dataclasses
import hashlib
import os
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
_ATTEMPTS = 2

_Signature = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last change to the content and to the inode."""

_Listing = Mapping[str, tuple[pathlib.Path, _Signature]]
"""The path and signature of each document, by name."""


class _Changed(Exception):
    """A file is not the one that was listed, or changed while it was read."""


@dataclasses.dataclass(frozen=True, slots=True)
class FileSource:
    """Implements ports.Source for a file or a folder of files.

    `name` is the path as the settings write it; places begin with it.
    """

    path: pathlib.Path
    name: str

    async def read(self) -> SourceReading:
        """Read every document in a worker thread. Raises errors.SourceError with the problems of all of them."""
        return await to_thread.run_sync(self._read, abandon_on_cancel=True)

    async def peek(self) -> str:
        """Return a hash of the names and signatures of all documents.

        Raises errors.SourceError if they cannot be listed. Misses an edit that keeps the size and comes within one
        tick of the file system's clock (milliseconds; on some network file systems a second) after another edit.
        """
        return await to_thread.run_sync(self._peek, abandon_on_cancel=True)

    def _peek(self) -> str:
        listed = "".join(f"{name}\0{signature}\n" for name, (_, signature) in self._listing().items())
        return hashlib.sha256(listed.encode()).hexdigest()

    def _read(self) -> SourceReading:
        contents = self._contents()
        documents = [_document(name, data) for name, data in contents.items()]
        if problems := [problem for document in documents for problem in document.problems]:
            raise SourceError(problems)
        fleets = tuple(fleet for document in documents for fleet in document.fleets)
        rows = tuple(row for document in documents for row in document.rows)
        revision = SourceRevision(_KIND, self.name, _revision(contents))
        return SourceReading(revision, fleets, rows)

    def _contents(self) -> Mapping[str, bytes]:
        """Return the bytes of every document by name, all as they were at one moment."""
        for _ in range(_ATTEMPTS):
            listing = self._listing()
            try:
                contents = {name: _content(name, path, signature) for name, (path, signature) in listing.items()}
            except _Changed:
                continue
            if self._listing() == listing:
                return contents
        message = "the source changes while it is read: write a new file elsewhere and rename it into place"
        raise SourceError([Problem(self.name, message)], code="source_changed")

    def _listing(self) -> _Listing:
        """List the documents in order, following links. Raises errors.SourceError with every file that is not one."""
        paths = _entries(self.name, self.path)
        if paths is None:
            found = {self.name: self.path}
        elif paths:
            found = {f"{self.name.rstrip('/')}/{path.name}": path for path in paths}
        else:
            raise _error(self.name, f"the folder contains no document: add one ({', '.join(SUFFIXES)})")
        listing: dict[str, tuple[pathlib.Path, _Signature]] = {}
        problems = list[Problem]()
        for name, path in found.items():
            try:
                listing[name] = path, _document_signature(name, path)
            except SourceError as error:
                problems.extend(error.problems)
        if problems:
            raise SourceError(problems)
        return listing


def _entries(name: str, folder: pathlib.Path) -> list[pathlib.Path] | None:
    """Return the entries of a folder in order, without hidden ones; None if the path is not a folder.

    A Kubernetes ConfigMap keeps its versions in hidden folders, and beside them links to the current one.
    """
    try:
        if not folder.is_dir():
            return None
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise _error(name, f"the folder cannot be read ({error.strerror}): check its permissions") from None


def _document_signature(name: str, path: pathlib.Path) -> _Signature:
    if not name.isascii() and name.encode(errors="replace").decode() != name:
        raise _error(ascii(name), "the file name is not UTF-8: rename the file")
    try:
        status = path.stat()
    except FileNotFoundError:
        raise _error(name, "file not found: correct the path, or create one with `fleet-sync export`") from None
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
    if stat.S_ISDIR(status.st_mode):
        message = "a folder inside the folder is not read: move its documents up, or add it as a source of its own"
        raise _error(name, message)
    if not stat.S_ISREG(status.st_mode):
        raise _error(name, "not a regular file: write the document to a file")
    if path.suffix.lower() not in SUFFIXES:
        raise _error(name, f"not a membership document (their names end in {', '.join(SUFFIXES)}): remove or rename it")
    return _signature(status)


def _signature(status: os.stat_result) -> _Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _content(name: str, path: pathlib.Path, signature: _Signature) -> bytes:
    """Read a file once. Raises _Changed if it is not the listed one any more by then."""
    try:
        with path.open("rb") as file:
            content = file.read(positions.MAX_BYTES + 1)
            if _signature(os.fstat(file.fileno())) != signature:
                raise _Changed
    except FileNotFoundError:
        raise _Changed from None
    except OSError as error:
        raise _unreadable(name, error) from None
    return content


def _document(name: str, data: bytes) -> membership_document.Contents:
    try:
        text = positions.decode(data)
        if not text.strip():
            raise positions.Malformed((1, 1), membership_document.EMPTY)
        return membership_document.read(_parse(pathlib.PurePath(name).suffix.lower(), text), name)
    except positions.Malformed as malformed:
        problem = membership_document.problem(name, malformed.place, malformed.message)
        return membership_document.Contents((), (), (problem,))


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
    """Return the hash of the only document, or of the names and hashes of several."""
    hashes = [(name, hashlib.sha256(data).hexdigest()) for name, data in contents.items()]
    if len(hashes) == 1:
        return f"sha256:{hashes[0][1]}"
    listing = "".join(f"{name}\0{digest}\n" for name, digest in hashes)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def _unreadable(name: str, error: OSError | ValueError) -> SourceError:
    reason = error.strerror if isinstance(error, OSError) else error
    return _error(name, f"the file cannot be read ({reason}): check the path and its permissions")


def _error(name: str, message: str) -> SourceError:
    return SourceError([Problem(name, message)])
