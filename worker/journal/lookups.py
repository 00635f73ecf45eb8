"""What a run asks of its journal before it writes: questions that need neither SQLAlchemy nor the writer's lock.

Invariant: one text of each question, for both databases. Neighbours: `glance` asks them through the standard library,
`database` through SQLAlchemy.
"""

import abc
import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from worker.core.model.identifiers import DriverId, FleetId, Membership, Resolutions
from worker.core.model.outcomes import NOT_CONVERGING
from worker.core.model.plan import Action
from worker.core.model.ports import OwnWrite
from worker.core.model.serialization import format_time
from worker.journal import rows

Write = tuple[Action, DriverId, FleetId]

DONE = ("applied", "already")
UNSEEN = NOT_CONVERGING
"""The code of an outcome that an answer called done, and a fresh reading did not show."""

PROBE = "DELETE FROM approvals WHERE digest IS NULL"
"""Needs the right to write, and writes nothing."""

KEEP = "INSERT INTO lists (name, content) VALUES (:name, :content) ON CONFLICT DO NOTHING"
"""Stores a list that may be there already."""

_APPROVED = "SELECT 1 FROM approvals WHERE digest = :digest AND until > :now"
_APPROVALS = "SELECT digest FROM approvals WHERE until > :now"
_RESOLUTIONS = "SELECT reference, driver FROM resolutions"
_HISTORY = f"""
    SELECT intents.action, intents.driver, intents.fleet, intents.outcome, intents.code
    FROM runs JOIN intents ON intents.run = runs.run
    WHERE runs.started >= :since AND intents.outcome IS NOT NULL
    AND intents.driver IN (SELECT driver FROM intents WHERE code = '{UNSEEN}')
    ORDER BY runs.started, runs.run, intents.position
"""  # noqa: S608 - a constant of ours; with a parameter SQLite would not use the partial index
_AT_ONCE = 250
_DRIVERS = [f"driver_{number}" for number in range(_AT_ONCE)]
_LATEST = f"""
    SELECT driver, fleet, action, "row", recorded, started FROM (
        SELECT intents.driver, intents.fleet, intents.action, intents."row", intents.recorded, runs.started,
        ROW_NUMBER() OVER (
            PARTITION BY intents.driver, intents.fleet ORDER BY intents.recorded DESC, intents.run DESC
        ) AS place
        FROM intents JOIN runs ON runs.run = intents.run
        WHERE intents.outcome = 'applied' AND intents.driver IN ({", ".join(f":{name}" for name in _DRIVERS)})
    ) AS latest
    WHERE place <= CAST(:most AS INTEGER) ORDER BY driver, fleet, place
"""  # noqa: S608 - nothing but the names of parameters is put in
_ABSENCES = "SELECT driver, fleet, since FROM absences"
_OLD = """
    SELECT 1 FROM runs WHERE started < :before AND (finished IS NULL OR finished < :before)
    AND NOT EXISTS (SELECT 1 FROM intents WHERE intents.run = runs.run AND intents.outcome IS NULL) LIMIT 1
"""


class Lookups(abc.ABC):
    """A journal that can be asked."""

    @abc.abstractmethod
    def ask(self, question: str, parameters: Mapping[str, str]) -> Sequence[Sequence[Any]]:
        """Give the rows that answer an SQL question with named parameters. Raises errors.JournalError."""

    @abc.abstractmethod
    def probe(self) -> None:
        """Raise errors.JournalError where the journal may be read and not written."""

    def approved(self, digest: str, *, now: datetime.datetime) -> bool:
        """Tell whether a plan's held changes are allowed at this moment."""
        return bool(self.ask(_APPROVED, {"digest": digest, "now": format_time(now)}))

    def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        """Return the digests of all plans whose approval is valid at `now`."""
        return frozenset(digest for (digest,) in self.ask(_APPROVALS, {"now": format_time(now)}))

    def resolutions(self) -> Resolutions:
        """Give whom each reference led to."""
        return dict(self.ask(_RESOLUTIONS, {}))  # type: ignore[arg-type]

    def unconfirmed_writes(self, *, since: datetime.datetime) -> dict[Write, int]:
        """Count how often in a row each write was answered as done, and yet not seen."""
        history = self.ask(_HISTORY, {"since": format_time(since)})
        return unseen(((Action(row[0]), row[1], row[2]), row[3], row[4]) for row in history)

    def latest(self, drivers: Collection[DriverId], *, most: int) -> dict[Membership, tuple[OwnWrite, ...]]:
        """Give our newest writes to each membership of these drivers that took effect; so many drivers a question."""
        found: dict[Membership, tuple[OwnWrite, ...]] = {}
        names = sorted(drivers)
        for start in range(0, len(names), _AT_ONCE):
            asked = names[start : start + _AT_ONCE]
            padded = [*asked, *[asked[0]] * (_AT_ONCE - len(asked))]
            parameters = {**dict(zip(_DRIVERS, padded, strict=True)), "most": str(most)}
            for driver, fleet, *write in self.ask(_LATEST, parameters):
                found[driver, fleet] = (*found.get((driver, fleet), ()), rows.own_write(*write))
        return found

    def absences(self) -> dict[Membership, datetime.datetime]:
        """Give since when each membership is absent from the sources."""
        return {(driver, fleet): rows.moment(since) for driver, fleet, since in self.ask(_ABSENCES, {})}

    def anything_before(self, before: datetime.datetime) -> bool:
        """Tell whether there is a run to forget."""
        return bool(self.ask(_OLD, {"before": format_time(before)}))


class Nothing(Lookups):
    """A journal that is not there yet."""

    def ask(self, question: str, parameters: Mapping[str, str]) -> Sequence[Sequence[Any]]:
        """Answer that there is nothing."""
        return ()

    def probe(self) -> None:
        """See that nothing can be written to nothing: never asked, as only a writer is."""


def unseen(history: Iterable[tuple[Write, str | None, str | None]]) -> dict[Write, int]:
    """Count for each write, with its outcome and code, how often it was not seen since it last was."""
    counts: dict[Write, int] = {}
    for write, outcome, code in history:
        if code == UNSEEN:
            counts[write] = counts.get(write, 0) + 1
        elif outcome in DONE:
            counts.pop(write, None)
    return counts
