"""Read membership documents from disk: one file, or a folder of them.

Invariant: a reading is whole. A file that cannot be read, is empty, or changes while it is read is an error, and so is
a file in the folder that is not a document: its rows would count as absent if it were skipped.
Neighbours: `document_reader` reads the bytes of each document.
"""

import dataclasses
import hashlib
import os
import pathlib
import stat
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from anyio import to_thread

from worker.core.model.desired import SourceReading, SourceRevision
from worker.core.model.errors import SourceError
from worker.core.model.problem import Problem
from worker.core.monitoring import humanize
from worker.sources import document_reader, positions

SUFFIXES = tuple(document_reader.SUFFIXES)

_KIND = "file"
_ATTEMPTS = 2
_HOUR = 3600.0


class _Signature(NamedTuple):
    """What changes whenever a file is replaced or written to."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


_Listed = tuple[pathlib.Path, _Signature]
_Listing = Mapping[str, _Listed]


class _Changed(Exception):
    """A file is not the one that was listed, or changed while it was read."""


@dataclasses.dataclass(frozen=True, slots=True)
class FileSource:
    """Implements ports.Source for a file or a folder of files.

    `name` is the path as the settings write it; places begin with it. `now` returns the seconds since the epoch.
    """

    path: pathlib.Path
    name: str
    options: document_reader.DocumentOptions = dataclasses.field(default_factory=document_reader.DocumentOptions)
    now: Callable[[], float] = time.time

    async def read(self) -> SourceReading:
        """Read every document in a worker thread. Raises errors.SourceError with the problems of all of them."""
        return await to_thread.run_sync(self._read, abandon_on_cancel=True)

    async def peek(self) -> str:
        """Return a hash of the names and signatures of all documents and manifests.

        Raises errors.SourceError if they cannot be listed. Misses an edit that keeps the size and comes within one
        tick of the file system's clock (milliseconds; on some network file systems a second) after another edit.
        """
        return await to_thread.run_sync(self._peek, abandon_on_cancel=True)

    def _peek(self) -> str:
        listed = "".join(
            f"{name}\0{tuple(signature)}\n" for part in self._listing() for name, (_, signature) in part.items()
        )
        return hashlib.sha256(listed.encode()).hexdigest()

    def _read(self) -> SourceReading:
        documents, manifests = self._contents()
        read = [
            document_reader.read(name, _suffix(name), data, self.options, manifest=manifests.get(name))
            for name, data in documents.items()
        ]
        if problems := [problem for contents in read for problem in contents.problems]:
            raise SourceError(problems, code=_common({contents.code for contents in read if contents.problems}))
        self._check_rows(sum(contents.count for contents in read))
        fleets = tuple(fleet for contents in read for fleet in contents.fleets)
        rows = tuple(row for contents in read for row in contents.rows)
        notices = tuple(notice for contents in read for notice in contents.notices)
        revision = SourceRevision(_KIND, self.name, _revision(documents))
        return SourceReading(revision, fleets, rows, notices)

    def _check_rows(self, count: int) -> None:
        checks = self.options.checks
        if checks and count < checks.min_rows:
            message = f"the source has {humanize.count(count, 'row')}, fewer than min_rows = {checks.min_rows}"
            raise _error(self.name, message, code="source_incomplete")

    def _check_age(self, listing: _Listing) -> None:
        checks = self.options.checks
        if checks is None or checks.max_age_hours is None:
            return
        for name, (_, signature) in listing.items():
            hours = (self.now() - signature.mtime_ns / 1e9) / _HOUR
            if hours > checks.max_age_hours:
                message = f"the file is {hours:.1f} hours old, older than max_age_hours = {checks.max_age_hours:g}"
                raise _error(name, message, code="source_stale")

    def _contents(self) -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
        """Return the bytes of every document and of its manifest by name, all as they were at one moment."""
        for _ in range(_ATTEMPTS):
            documents, manifests = self._listing()
            self._check_age(documents)
            try:
                contents = _read_all(documents), _read_all(manifests)
            except _Changed:
                continue
            if self._listing() == (documents, manifests):
                return contents
        message = "the source changes while it is read: write a new file elsewhere and rename it into place"
        raise _error(self.name, message, code="source_changed")

    def _listing(self) -> tuple[_Listing, _Listing]:
        """List the documents in order, following links, and their manifests by the documents' names.

        Raises errors.SourceError with every file that is neither.
        """
        documents, errors = self._documents(), list[SourceError]()
        manifests = self._manifests(documents)
        beside = set(manifests.values())
        listings: tuple[dict[str, _Listed], dict[str, _Listed]] = {}, {}
        for name, path in documents.items():
            if path.absolute() in beside:
                continue
            try:
                listings[0][name] = path, _document_signature(name, path, any_suffix=self.options.format != "auto")
                if manifest := manifests.get(name):
                    listings[1][name] = manifest, _manifest_signature(name, manifest)
            except SourceError as error:
                errors.append(error)
        if errors:
            problems = [problem for error in errors for problem in error.problems]
            raise SourceError(problems, code=_common({error.code for error in errors}))
        return listings

    def _documents(self) -> Mapping[str, pathlib.Path]:
        paths = _entries(self.name, self.path)
        if paths is None:
            return {self.name: self.path}
        if not paths:
            message = f"the folder contains no document: add one ({', '.join(SUFFIXES)})"
            raise _error(self.name, message, code="source_empty")
        return {f"{self.name.rstrip('/')}/{path.name}": path for path in paths}

    def _manifests(self, documents: Mapping[str, pathlib.Path]) -> Mapping[str, pathlib.Path]:
        checks = self.options.checks
        if checks is None or not checks.manifest:
            return {}
        return {
            name: path.absolute().parent / checks.manifest.replace("{path}", str(path.absolute()))
            for name, path in documents.items()
        }


def _entries(name: str, folder: pathlib.Path) -> list[pathlib.Path] | None:
    """Return the entries of a folder in order, without hidden ones; None if the path is not a folder.

    A Kubernetes ConfigMap keeps its versions in hidden folders, and beside them links to the current one.
    """
    try:
        if not folder.is_dir():
            return None
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        message = f"the folder cannot be read ({error.strerror}): check its permissions"
        raise _error(name, message, code="source_unreachable") from None


def _document_signature(name: str, path: pathlib.Path, *, any_suffix: bool) -> _Signature:
    if not name.isascii() and name.encode(errors="replace").decode() != name:
        raise _error(ascii(name), "the file name is not UTF-8: rename the file")
    try:
        status = path.stat()
    except FileNotFoundError:
        message = "file not found: correct the path, or create one with `fleet-sync export`"
        raise _error(name, message, code="source_unreachable") from None
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
    if stat.S_ISDIR(status.st_mode):
        message = "a folder inside the folder is not read: move its documents up, or add it as a source of its own"
        raise _error(name, message)
    if not stat.S_ISREG(status.st_mode):
        raise _error(name, "not a regular file: write the document to a file")
    if not any_suffix and path.suffix.lower() not in SUFFIXES:
        suffixes = ", ".join(SUFFIXES)
        message = f"not a membership document by its name ({suffixes}): remove or rename it, or set the source's format"
        raise _error(name, message)
    return _signature(status)


def _manifest_signature(name: str, path: pathlib.Path) -> _Signature:
    try:
        status = path.stat()
    except (OSError, ValueError):
        message = f"its manifest {path.name} cannot be read: the document may still be on its way"
        raise _error(name, message, code="source_incomplete") from None
    return _signature(status)


def _signature(status: os.stat_result) -> _Signature:
    return _Signature(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read_all(listing: _Listing) -> Mapping[str, bytes]:
    return {name: _content(name, path, signature) for name, (path, signature) in listing.items()}


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


def _suffix(name: str) -> str:
    return pathlib.PurePath(name).suffix.lower()


def _revision(contents: Mapping[str, bytes]) -> str:
    """Return the hash of the only document, or of the names and hashes of several."""
    hashes = [(name, hashlib.sha256(data).hexdigest()) for name, data in contents.items()]
    if len(hashes) == 1:
        return f"sha256:{hashes[0][1]}"
    listing = "".join(f"{name}\0{digest}\n" for name, digest in hashes)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def _common(codes: set[str]) -> str:
    """Return the code that all problems share, or that of a source with various problems."""
    return codes.pop() if len(codes) == 1 else positions.INVALID


def _unreadable(name: str, error: OSError | ValueError) -> SourceError:
    if isinstance(error, PermissionError):
        return _error(name, "the file may not be read: check its permissions", code="source_unauthorized")
    reason = error.strerror if isinstance(error, OSError) else error
    return _error(name, f"the file cannot be read ({reason}): check the path", code="source_unreachable")


def _error(name: str, message: str, *, code: str = positions.INVALID) -> SourceError:
    return SourceError([Problem(name, message)], code=code)
