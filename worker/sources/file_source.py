"""Reads membership documents from disk: one file, or a folder of them.

Invariant: a reading is whole. A file that cannot be read, is empty, or changes while it is read is an error, and so is
a file in the folder that is not a document: its rows would count as absent if it were skipped.
Neighbours: `document_source` reads the documents that are fetched here.
"""

import dataclasses
import fnmatch
import hashlib
import os
import pathlib
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from anyio import to_thread

from worker.core.model.errors import SourceError
from worker.sources import document_reader, fetching, positions

SUFFIXES = tuple(document_reader.SUFFIXES)

_ATTEMPTS = 2


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
class Selection:
    """Which files are documents, and when they are complete.

    Names in a folder count that match a pattern of `include`, if there is one, and none of `exclude`. `any_suffix`
    allows names whose ending does not say the format. `manifest` is the path of a file beside each document, whose
    path replaces `{path}`. A document counts as being written for `settle_seconds` after each change.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    any_suffix: bool = False
    manifest: str = ""
    settle_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class FileFetcher:
    """Implements fetching.Fetcher for a file or a folder of files.

    `name` is the path as the settings write it; places begin with it. `now` returns the seconds since the epoch.
    """

    path: pathlib.Path
    name: str
    selection: Selection = dataclasses.field(default_factory=Selection)
    now: Callable[[], float] = time.time

    async def fetch(self) -> fetching.Fetched:
        """Read every file in a worker thread. Raises errors.SourceError with the problems of all of them."""
        return await to_thread.run_sync(self._fetch, abandon_on_cancel=True)

    async def peek(self) -> str:
        """Return a hash of the names and signatures of all documents and manifests.

        Raises errors.SourceError if they cannot be listed. Misses an edit that keeps the size and comes within one
        tick of the file system's clock (milliseconds; on some network file systems a second) after another edit.
        """
        return await to_thread.run_sync(self._peek, abandon_on_cancel=True)

    def _peek(self) -> str:
        listing = self._listing()
        self._check_settled(listing)
        listed = "".join(f"{name}\0{tuple(signature)}\n" for part in listing for name, (_, signature) in part.items())
        return hashlib.sha256(listed.encode()).hexdigest()

    def _fetch(self) -> fetching.Fetched:
        documents, contents, manifests = self._contents()
        return fetching.Fetched(
            tuple(
                fetching.Document(
                    name,
                    contents[name],
                    suffix=path.suffix.lower(),
                    modified=signature.mtime_ns / 1e9,
                    manifest=manifests.get(name),
                )
                for name, (path, signature) in documents.items()
            )
        )

    def _check_settled(self, listings: tuple[_Listing, _Listing]) -> None:
        """Raise errors.SourceError if a file was changed so recently that it may not be complete.

        Its ctime counts: an upload may set the mtime to that of the original, however long it lasts.
        """
        if not self.selection.settle_seconds:
            return
        for listing in listings:
            for name, (_, signature) in listing.items():
                seconds = self.now() - signature.ctime_ns / 1e9
                if seconds >= self.selection.settle_seconds:
                    continue
                message = f"changed within the last settle_seconds = {self.selection.settle_seconds:g}: it is not read "
                message = f"{message}before it stays unchanged for that long"
                if seconds < -fetching.MAX_CLOCK_SKEW_SECONDS:
                    message = f"its last change is {-seconds:.0f} seconds in the future: correct this machine's clock, "
                    message = f"{message}or copy the file once the clock is right"
                raise fetching.failure(name, message, code="source_changed")

    def _contents(self) -> tuple[_Listing, Mapping[str, bytes], Mapping[str, bytes]]:
        """Return the documents, their bytes, and those of their manifests, all as they were at one moment."""
        for _ in range(_ATTEMPTS):
            documents, manifests = listing = self._listing()
            self._check_settled(listing)
            try:
                contents = documents, _read_all(documents), _read_all(manifests)
            except _Changed:
                continue
            if self._listing() == listing:
                return contents
        message = "the source changes while it is read: write a new file elsewhere and rename it into place"
        raise fetching.failure(self.name, message, code="source_changed")

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
                listings[0][name] = path, _document_signature(name, path, any_suffix=self.selection.any_suffix)
                if manifest := manifests.get(name):
                    listings[1][name] = manifest, _manifest_signature(name, manifest)
            except SourceError as error:
                errors.append(error)
        if errors:
            problems = [problem for error in errors for problem in error.problems]
            codes = {error.code for error in errors}
            raise SourceError(problems, code=codes.pop() if len(codes) == 1 else positions.INVALID)
        if not listings[0]:
            message = "there is no document, only what completeness.manifest names: add one, or correct manifest"
            raise fetching.failure(self.name, message, code="source_empty")
        return listings

    def _documents(self) -> Mapping[str, pathlib.Path]:
        paths = _entries(self.name, self.path)
        if paths is None:
            if self.selection.include or self.selection.exclude:
                raise fetching.failure(
                    self.name, "include and exclude select files in a folder, and this is none: remove them"
                )
            return {self.name: self.path}
        selected = [path for path in paths if self._is_selected(path.name)]
        if not selected:
            which = "that include and exclude select" if paths else f"add one ({', '.join(SUFFIXES)})"
            raise fetching.failure(self.name, f"the folder contains no document: {which}", code="source_empty")
        return {f"{self.name.rstrip('/')}/{path.name}": path for path in selected}

    def _is_selected(self, name: str) -> bool:
        def matches(patterns: Sequence[str]) -> bool:
            return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

        return (not self.selection.include or matches(self.selection.include)) and not matches(self.selection.exclude)

    def _manifests(self, documents: Mapping[str, pathlib.Path]) -> Mapping[str, pathlib.Path]:
        if not self.selection.manifest:
            return {}
        return {
            name: path.absolute().parent / self.selection.manifest.replace("{path}", str(path.absolute()))
            for name, path in documents.items()
        }


def _entries(name: str, folder: pathlib.Path) -> list[pathlib.Path] | None:
    """Return the entries of a folder in order, without hidden ones; None if the path is not a folder.

    A Kubernetes ConfigMap keeps its versions in hidden folders, and beside them links to the current one.
    """
    try:
        if not folder.is_dir():
            return None
        return sorted(path for path in folder.iterdir() if not path.name.startswith(fetching.HIDDEN))
    except OSError as error:
        message = f"the folder cannot be read ({error.strerror}): check its permissions"
        raise fetching.failure(name, message, code="source_unreachable") from None


def _document_signature(name: str, path: pathlib.Path, *, any_suffix: bool) -> _Signature:
    if not name.isascii() and name.encode(errors="replace").decode() != name:
        raise fetching.failure(ascii(name), "the file name is not UTF-8: rename the file")
    try:
        status = path.stat()
    except FileNotFoundError:
        message = "file not found: correct the path, or create one with `fleet-sync export`"
        raise fetching.failure(name, message, code="source_unreachable") from None
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
    if stat.S_ISDIR(status.st_mode):
        message = "a folder inside the folder is not read: move its documents up, or add it as a source of its own"
        raise fetching.failure(name, message)
    if not stat.S_ISREG(status.st_mode):
        raise fetching.failure(name, "not a regular file: write the document to a file")
    if not any_suffix and path.suffix.lower() not in SUFFIXES:
        suffixes = ", ".join(SUFFIXES)
        message = f"not a membership document by its name ({suffixes}): remove or rename it, or set the source's format"
        raise fetching.failure(name, message)
    return _signature(status)


def _manifest_signature(name: str, path: pathlib.Path) -> _Signature:
    try:
        status = path.stat()
    except (OSError, ValueError):
        message = f"its manifest {path.name} cannot be read: the document may still be on its way"
        raise fetching.failure(name, message, code="source_incomplete") from None
    if not stat.S_ISREG(status.st_mode):  # reading a pipe could block forever
        raise fetching.failure(name, f"its manifest {path.name} is not a regular file")
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


def _unreadable(name: str, error: OSError | ValueError) -> SourceError:
    if isinstance(error, PermissionError):
        return fetching.failure(name, "the file may not be read: check its permissions", code="source_unauthorized")
    reason = error.strerror if isinstance(error, OSError) else error
    return fetching.failure(name, f"the file cannot be read ({reason}): check the path", code="source_unreachable")
