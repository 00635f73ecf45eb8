"""Reads a document that is an object in S3, Google Cloud Storage or Azure.

Invariants: an object is whole or an error: what arrived has the size that the store named; and all of it is of the
version whose ETag is the revision. Neighbours: `object_store` talks to stores.
"""

import contextlib
import dataclasses
import datetime
import importlib
import pathlib
import posixpath
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal, Protocol, cast

import anyio
from anyio import to_thread

from worker.core.model.secret import Secret
from worker.sources import fetching, positions, secret_files

Scheme = Literal["s3", "gs", "az"]


@dataclasses.dataclass(frozen=True, slots=True)
class Bucket:
    """Where an object is. `bucket` is the container in Azure.

    Without `secret_file`, the credentials are those of the environment or of the machine. In S3 the file has the secret
    of `access_key_id`, in Azure the key of the account with that name, in Google Cloud the JSON of a service account.
    """

    scheme: Scheme
    bucket: str
    key: str
    region: str = ""
    endpoint: str = ""
    access_key_id: str = ""
    secret_file: pathlib.Path | None = None
    timeout: float = 60.0


def parts(url: str) -> tuple[Scheme, str, str]:
    """Return scheme, bucket and key of an address that the settings accept."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return cast("Scheme", scheme), bucket, key


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """What a store says of an object. The ETag changes with every version; it is empty if there is none."""

    etag: str
    size: int
    modified: datetime.datetime
    media_type: str = ""
    encoding: str = ""


class Store(Protocol):
    """A bucket. Raises errors.SourceError."""

    async def head(self, key: str) -> Head:
        """Return what the store says of an object."""
        ...

    async def get(self, key: str) -> tuple[Head, AsyncIterator[bytes]]:
        """Return the same, and the content of this very version."""
        ...


Open = Callable[[Bucket, Secret | None, str], Store]


def opening() -> Open:
    """Return what opens buckets. Raises ImportError without the extra."""
    opened: Open = importlib.import_module("worker.sources.object_store").open_bucket
    return opened


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectFetcher:
    """Implements fetching.Fetcher for one object. `manifest` is beside it: `{path}` is replaced by its name."""

    bucket: Bucket
    name: str
    manifest: str = ""
    opening: Callable[[], Open] = opening

    async def fetch(self) -> fetching.Fetched:
        """Return the document. Raises errors.SourceError."""
        with self._deadline():
            store = await self._open()
            document, etag = await self._read(store, self.bucket.key, positions.MAX_BYTES)
            if self.manifest:
                beside, _ = await self._read(store, self._beside(), fetching.MAX_MANIFEST_BYTES)
                document = dataclasses.replace(document, manifest=beside.data)
        return fetching.Fetched((document,), revision=f"etag:{etag}" if etag else "", proof="length")

    async def peek(self) -> str | None:
        """Return the ETags of the object and its manifest; None if the store has none. Raises errors.SourceError."""
        with self._deadline():
            store = await self._open()
            keys = [self.bucket.key, self._beside()] if self.manifest else [self.bucket.key]
            etags = [(await store.head(key)).etag for key in keys]
        return "\n".join(etags) if all(etags) else None

    @contextlib.contextmanager
    def _deadline(self) -> Iterator[None]:
        try:
            with anyio.fail_after(self.bucket.timeout):
                yield
        except TimeoutError:
            message = f"the store did not send everything within timeout_seconds = {self.bucket.timeout:g}"
            raise fetching.failure(self.name, message, code="source_timeout") from None

    async def _open(self) -> Store:
        try:
            open_bucket = self.opening()
        except ImportError:
            raise fetching.failure(self.name, "buckets need an extra: install fleet-sync[object]") from None
        return await to_thread.run_sync(
            lambda: open_bucket(self.bucket, self._secret(), self.name), abandon_on_cancel=True
        )

    def _secret(self) -> Secret | None:
        path = self.bucket.secret_file
        return secret_files.read(path, name=self.name, setting="secret_file") if path else None

    async def _read(self, store: Store, key: str, most: int) -> tuple[fetching.Document, str]:
        head, parts = await store.get(key)
        if head.encoding not in ("", "identity"):
            message = f"{key} is stored with Content-Encoding: {head.encoding}: store it without"
            raise fetching.failure(self.name, message)
        data = bytearray()
        if head.size <= most:
            async for part in parts:
                data += part
        if head.size > most or len(data) > most:
            raise fetching.too_large(self.name)
        if len(data) != head.size:
            message = f"{len(data)} of {head.size} bytes of {key} arrived: try again"
            raise fetching.failure(self.name, message, code="source_incomplete")
        suffix = pathlib.PurePosixPath(key).suffix.lower()
        modified = head.modified.timestamp()
        return fetching.Document(self.name, bytes(data), suffix, head.media_type, modified), head.etag

    def _beside(self) -> str:
        folder, name = posixpath.split(self.bucket.key)
        path = posixpath.normpath(posixpath.join("/", folder, self.manifest.replace("{path}", name)))
        return path.lstrip("/")
