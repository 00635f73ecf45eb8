"""How much each source says: in one reading, and in earlier runs.

Invariant: sources are known by name; several of one name count as one. Neighbours: `safety.source_shrinkage` compares
readings with earlier runs, `ports.Journal` remembers what they had.
"""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from worker.core.model.identifiers import FleetId, RunId


@dataclasses.dataclass(frozen=True, slots=True)
class SourceSize:
    """The number of rows of a source, before any of them is left out, and the fleets that it names.

    `version` is its place in the history of versions, if it has one. `rewritten` is the version that an earlier run
    read, if this one does not descend from it.
    """

    rows: int
    fleets: frozenset[FleetId] = frozenset()
    version: str = ""
    rewritten: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class RowCount:
    """The number of rows that a run read of a source, and when."""

    rows: int
    seen: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class SourceRecord:
    """What runs read of a source, without the runs in which it had shrunk too much.

    `counts` are the oldest first. Every count that a later one reaches is left out: it is no baseline any more.
    `fleets` are those of the last run. `version` is what later versions must descend from; empty if there is none.
    """

    counts: tuple[RowCount, ...]
    fleets: frozenset[FleetId] = frozenset()
    version: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ShrunkSource:
    """A source that lost too many rows since earlier runs; detaches from its `fleets` are held."""

    name: str
    rows: int
    baseline: int
    message: str
    fleets: frozenset[FleetId] = dataclasses.field(default=frozenset(), compare=False)


@runtime_checkable
class Versioned(Protocol):
    """What has a history of versions, which may have been rewritten: a source, or what fetches its documents."""

    async def descends(self, version: str, *, before: str) -> bool:
        """Return whether a version that was read comes after another one in the history.

        Raises `errors.SourceError` if that cannot be found out.
        """
        ...


class SourceMemory(Protocol):
    """The part of the journal that remembers how much each source said."""

    async def source_records(self) -> Mapping[str, SourceRecord]:
        """Return what earlier runs read, by the name of the source."""
        ...

    async def remember_sources(
        self, records: Mapping[str, SourceRecord], *, run: RunId, spent: str | None = None
    ) -> None:
        """Replace the records of these sources. The same commit uses up the approval of the digest `spent`."""
        ...
