"""Reads a document from an SFTP server: one path, or the newest file that matches a pattern.

Invariants: a file is read only if it had the same size and time before and after, and if its size is what was read; a
file that may still be uploaded is an error. No server is trusted whose key is not in the file of known hosts.
Neighbours: `sftp_connection` talks to servers, `completeness` has the other proofs.
"""

import contextlib
import dataclasses
import fnmatch
import hashlib
import importlib
import pathlib
import posixpath
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Literal, NamedTuple, Protocol

import anyio

from worker.core.model.errors import SourceError
from worker.sources import fetching, positions

DONE = ".done"
"""The suffix of the empty file that says that the file beside it is complete."""

_ATTEMPTS = 2
_CHANGING = "the file changes while it is read: upload under another name, and rename the file into place"


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A server and how to log in to it: `login` says whether `secret_file` has a key or a password."""

    host: str
    port: int
    username: str
    known_hosts_file: pathlib.Path
    secret_file: pathlib.Path
    login: Literal["key_file", "password_file"]


@dataclasses.dataclass(frozen=True, slots=True)
class Upload:
    """Which file is read, and when it is complete. The name in `path` may be a pattern: the newest file counts.

    `manifest` is the path of a file beside the document, whose path replaces `{path}`. Without it, and without a file
    with the suffix DONE, a document counts as being uploaded for `settle_seconds` after each change.
    """

    path: str
    manifest: str = ""
    settle_seconds: float = 60.0
    timeout: float = 60.0


class Status(NamedTuple):
    """What the server says of a file. The time is in seconds since the epoch, by the server's clock."""

    size: int
    mtime: float
    is_file: bool


class Session(Protocol):
    """A connection to a server. Raises errors.SourceError."""

    async def entries(self, folder: str) -> Mapping[str, Status]:
        """Return what is in a folder, by name."""
        ...

    async def status(self, path: str) -> Status | None:
        """Return what the server says of a path; None if nothing is there."""
        ...

    async def content(self, path: str, most: int) -> tuple[bytes, Status | None]:
        """Return at most so many bytes of a file, and what the server says of it then; None if there is none."""
        ...


Connect = Callable[[Server, str], contextlib.AbstractAsyncContextManager[Session]]


def connecting() -> Connect:
    """Return what connects to servers. Raises ImportError without the extra."""
    connect: Connect = importlib.import_module("worker.sources.sftp_connection").connect
    return connect


class _Chosen(NamedTuple):
    """The file that is read, and those beside it that say that it is complete."""

    path: str
    status: Status
    done: Status | None
    manifest: Status | None


@dataclasses.dataclass(frozen=True, slots=True)
class SftpFetcher:
    """Implements fetching.Fetcher. Places begin with the path and the host; `now` returns seconds since the epoch."""

    server: Server
    upload: Upload
    name: str
    connect: Callable[[], Connect] = connecting
    now: Callable[[], float] = time.time

    async def fetch(self) -> fetching.Fetched:
        """Return the document. Raises errors.SourceError."""
        async with self._session() as session:
            for _ in range(_ATTEMPTS):
                chosen = await self._choose(session)
                if document := await self._document(session, chosen):
                    return fetching.Fetched((document,), proof="done_file" if _is_done(chosen) else "")
        raise self._failure(_CHANGING, code="source_changed")

    async def peek(self) -> str:
        """Return a hash of the path, size and time of the document, and of the files beside it.

        Misses a change that keeps the size within the same second, which `settle_seconds` makes impossible.
        """
        async with self._session() as session:
            chosen = await self._choose(session)
        return hashlib.sha256(repr(tuple(chosen)).encode()).hexdigest()

    async def _document(self, session: Session, chosen: _Chosen) -> fetching.Document | None:
        """Return the document, or None if it changed meanwhile."""
        if chosen.status.size > positions.MAX_BYTES:
            raise fetching.too_large(self._named(chosen.path))
        data, after = await session.content(chosen.path, chosen.status.size + 1)
        manifest = None
        if chosen.manifest:
            manifest, _ = await session.content(self._beside(chosen.path), fetching.MAX_MANIFEST_BYTES)
        # Also the same file by name: another one may have been renamed into its place.
        if after != chosen.status or len(data) != chosen.status.size or await self._choose(session) != chosen:
            return None
        suffix = pathlib.PurePosixPath(chosen.path).suffix.lower()
        return fetching.Document(
            self._named(chosen.path), data, suffix=suffix, modified=chosen.status.mtime, manifest=manifest
        )

    async def _choose(self, session: Session) -> _Chosen:
        """Return the file to read. Raises errors.SourceError if there is none, or if it may still be uploaded."""
        path, status = await self._newest(session)
        if path.encode(errors="replace").decode() != path:
            raise fetching.failure(ascii(self._named(path)), "the file name is not UTF-8: rename the file")
        if not status.is_file:
            raise self._failure(f"{path} is not a file: write the path of a file, or a pattern of names")
        manifest = await session.status(self._beside(path)) if self.upload.manifest else None
        if self.upload.manifest and manifest is None:
            message = f"its manifest {self._beside(path)} is not there: the document may still be on its way"
            raise fetching.failure(self._named(path), message, code="source_incomplete")
        if manifest and not manifest.is_file:  # reading a pipe would block
            raise fetching.failure(self._named(path), f"its manifest {self._beside(path)} is not a regular file")
        chosen = _Chosen(path, status, await session.status(path + DONE), manifest)
        if not manifest and not _is_done(chosen):
            self._check_settled(path, status)
        return chosen

    async def _newest(self, session: Session) -> tuple[str, Status]:
        folder, pattern = posixpath.split(self.upload.path)
        if not fetching.WILDCARDS & {*pattern}:
            status = await session.status(self.upload.path)
            if status is None:
                message = f"the server has no file {self.upload.path}: correct the path"
                raise self._failure(message, code="source_unreachable")
            return self.upload.path, status
        entries = await session.entries(folder or ".")
        paths = {posixpath.join(folder, name): (name, status) for name, status in entries.items()}
        manifests = {posixpath.normpath(self._beside(path)) for path in paths} if self.upload.manifest else set()
        found = [
            (status.mtime, path, status)
            for path, (name, status) in paths.items()
            if status.is_file and _matches(name, pattern) and posixpath.normpath(path) not in manifests
        ]
        if not found:
            raise self._failure(f"the server has no file that matches {self.upload.path}", code="source_unreachable")
        _, path, status = max(found)
        if len(found) > 1:  # otherwise no later upload would count as the newest
            self._check_time(path, status)
        return path, status

    def _check_settled(self, path: str, status: Status) -> None:
        settle = self.upload.settle_seconds
        age = self.now() - status.mtime
        if age >= settle or not settle:
            return
        self._check_time(path, status)
        message = (
            f"changed within the last settle_seconds = {settle:g}, so it may still be uploaded: it is not read yet"
        )
        raise fetching.failure(self._named(path), message, code="source_changed")

    def _check_time(self, path: str, status: Status) -> None:
        """Raise errors.SourceError if a file's last change is dated in the future."""
        if (ahead := status.mtime - self.now()) > fetching.MAX_CLOCK_SKEW_SECONDS:
            message = f"its last change is {ahead:.0f} seconds in the future: correct the server's clock, or that of "
            message = f"{message}this machine"
            raise fetching.failure(self._named(path), message, code="source_changed")

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        """Connect, and end the connection by its deadline at the latest."""
        try:
            connect = self.connect()
        except ImportError:
            raise self._failure("SFTP needs an extra: install fleet-sync[sftp]") from None
        try:
            with anyio.fail_after(self.upload.timeout):
                async with connect(self.server, self.name) as session:
                    yield session
        except TimeoutError:
            message = f"the server did not send everything within timeout_seconds = {self.upload.timeout:g}"
            raise self._failure(message, code="source_timeout") from None

    def _beside(self, path: str) -> str:
        """Return the path of the manifest of a document."""
        folder, name = posixpath.split(path)
        return posixpath.join(folder, self.upload.manifest.replace("{path}", name))

    def _named(self, path: str) -> str:
        return f"{path}@{self.server.host}"

    def _failure(self, message: str, *, code: fetching.Code = "source_invalid") -> SourceError:
        return fetching.failure(self.name, message, code=code)


def _is_done(chosen: _Chosen) -> bool:
    """Return whether a `.done` file marks the document as complete. An older one belongs to an earlier upload."""
    done = chosen.done
    return done is not None and done.is_file and done.mtime >= chosen.status.mtime


def _matches(name: str, pattern: str) -> bool:
    """Return whether a name matches as in a shell, where a pattern does not match the beginning of a hidden file."""
    hidden = name.startswith(fetching.HIDDEN) and not pattern.startswith(fetching.HIDDEN)
    return not hidden and not name.endswith(DONE) and fnmatch.fnmatchcase(name, pattern)
