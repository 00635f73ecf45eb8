"""Talks to S3, Google Cloud Storage and Azure with obstore.

Invariant: no error contains what the library says, because it quotes requests and replies. Neighbours: `object_source`
decides when an object is whole.
"""

import contextlib
import datetime
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import obstore
from obstore import exceptions, store

from worker.core.model.secret import Secret
from worker.sources import fetching, object_source

_RETRIES = 3
_STATUS = re.compile(r"status code: ([0-9]{3})")


def open_bucket(bucket: object_source.Bucket, secret: Secret | None, name: str) -> object_source.Store:
    """Return a bucket; `name` begins every error. Connects to nothing. Raises errors.SourceError."""
    try:
        return _Store(_opened(bucket, secret.reveal() if secret else ""), bucket, name)
    except (exceptions.BaseError, ValueError):
        message = "the settings of the store are not valid: check url, region, endpoint, and the content of secret_file"
        raise fetching.failure(name, message) from None


def _opened(bucket: object_source.Bucket, secret: str) -> Any:
    timeout = datetime.timedelta(seconds=bucket.timeout)
    name, endpoint = bucket.access_key_id, bucket.endpoint
    kind: Any
    match bucket.scheme:
        case "s3":
            kind = store.S3Store
            config = {"region": bucket.region, "endpoint": endpoint, "access_key_id": name, "secret_access_key": secret}
        case "gs":
            kind = store.GCSStore
            config = {"base_url": endpoint, "service_account_key": secret}
        case "az":
            kind = store.AzureStore
            config = {"endpoint": endpoint, "account_name": name, "account_key": secret}
    return kind(
        bucket.bucket,
        config={key: text for key, text in config.items() if text},  # the environment has what is absent
        client_options={"timeout": timeout, "allow_http": endpoint.startswith("http:")},
        retry_config={"max_retries": _RETRIES, "retry_timeout": timeout},
    )


class _Store:
    """Implements object_source.Store."""

    def __init__(self, opened: Any, bucket: object_source.Bucket, name: str) -> None:
        self._store = opened
        self._bucket = bucket
        self._name = name

    async def head(self, key: str) -> object_source.Head:
        with self._failures(key):
            return _head(await obstore.head_async(self._store, key), {})

    async def get(self, key: str) -> tuple[object_source.Head, AsyncIterator[bytes]]:
        with self._failures(key):
            result = await obstore.get_async(self._store, key)
            return _head(result.meta, result.attributes), self._parts(result, key)

    async def _parts(self, result: "obstore.GetResult", key: str) -> AsyncIterator[bytes]:
        try:
            async for part in result.stream():
                yield bytes(part)
        except exceptions.PreconditionError:
            message = f"{key} was replaced while it was read: try again"
            raise fetching.failure(self._name, message, code="source_changed") from None
        except (exceptions.BaseError, OSError):
            message = f"the transfer of {key} ended before everything had arrived: try again"
            raise fetching.failure(self._name, message, code="source_incomplete") from None

    @contextlib.contextmanager
    def _failures(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            message = f"{self._bucket.bucket} has no object {key}: correct the url"
            raise fetching.failure(self._name, message, code="source_unreachable") from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
            message = f"the store refuses to show {key}: check the credentials and what they may read"
            raise fetching.failure(self._name, message, code="source_unauthorized") from None
        except (exceptions.BaseError, OSError) as error:
            status = _STATUS.search(str(error))
            why = f"answered {status[1]}" if status else "could not be reached, or there are no credentials for it"
            message = f"the store {why}: check region, endpoint and credentials, or try again later"
            raise fetching.failure(self._name, message, code="source_unreachable") from None


def _head(meta: "obstore.ObjectMeta", attributes: "obstore.Attributes") -> object_source.Head:
    return object_source.Head(
        (meta["e_tag"] or "").strip('"'),
        meta["size"],
        meta["last_modified"],
        str(attributes.get("Content-Type", "")),
        str(attributes.get("Content-Encoding", "")),
    )
