"""The public interface for plugins: packages that add a kind of source.

A plugin is a distribution with an entry point in the group `fleet_sync.sources`. The entry point has the name of the
kind and leads to a `Kind`. The settings load it only if `plugins = ["distribution"]` names the distribution.

Invariant: the names here are stable; everything else in `worker` may change. A fetcher returns its documents whole, as
`Document`s in one of the formats that files have, or raises what `failure` returns.
Neighbours: `contract` is a test suite for the authors of plugins, `plugin_loader` loads plugins.
"""

import dataclasses
import functools
import pathlib
import ssl
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pydantic
from anyio import to_thread

from worker.core.model.secret import Secret
from worker.sources import fetching, secret_files
from worker.sources.fetching import Code, Document, Fetched, Fetcher, failure

__all__ = ["GROUP", "Code", "Context", "Document", "Fetched", "Fetcher", "Kind", "Secret", "Settings", "failure"]

GROUP = "fleet_sync.sources"
"""The group of the entry points."""


class Settings(pydantic.BaseModel):
    """The keys of a kind, in addition to those that all kinds have. Types are strict, and unknown keys are refused."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """What a source gets in addition to its keys.

    `name` is that of the source: places and errors begin with it. `folder` is that of the settings file. `ssl_context`
    returns the context of this process, which trusts the well-known authorities.
    """

    name: str
    folder: pathlib.Path
    user_agent: str
    ssl_context: Callable[[], ssl.SSLContext]

    def path(self, written: str) -> pathlib.Path:
        """Return a path that the settings name; a relative one is relative to the settings file."""
        return self.folder / written

    async def secret(self, written: str, *, setting: str) -> Secret:
        """Return the content of the file that the key `setting` names, read at each call. Raises errors.SourceError."""
        read = functools.partial(secret_files.read, self.path(written), name=self.name, setting=setting)
        return await to_thread.run_sync(read, abandon_on_cancel=True)


S = TypeVar("S", bound=Settings)


@dataclasses.dataclass(frozen=True, slots=True)
class Kind(Generic[S]):
    """A kind of source: its keys, and how to make the fetcher of one source.

    `address` returns where a source is, without secrets. A source without a `name` is called by it.
    """

    settings: type[S]
    create: Callable[[S, Context], fetching.Fetcher]
    address: Callable[[S], str]


AnyKind = Kind[Any]
