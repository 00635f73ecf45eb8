"""What a run asks of its journal before it writes: four questions that need neither SQLAlchemy nor the writer's lock.

Invariant: one text of each question, for both databases. Neighbours: `glance` asks them through the standard library,
`database` through SQLAlchemy.
"""

import abc
import datetime
import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worker.core import formats, values

Write = tuple[values.Action, values.DriverId, values.FleetId]

CLEAN = ("in_sync", "converged")
"""The results of runs that saw everything they wanted and did all that was missing."""

DONE = ("applied", "already")

_APPROVED = "SELECT 1 FROM approvals WHERE digest = :digest AND until > :now"
_RESOLUTIONS = "SELECT reference, driver FROM resolutions"
_SETTLED = "SELECT max(started) FROM runs WHERE result = 'in_sync' AND started >= :since"
_HISTORY = """
    SELECT runs.run, runs.result, intents.action, intents.driver, intents.fleet, intents.outcome
    FROM runs JOIN intents ON intents.run = runs.run
    WHERE runs.started >= :since
    ORDER BY runs.started, runs.run, intents.position
"""
_OLD = """
    SELECT 1 FROM runs WHERE started < :before AND (finished IS NULL OR finished < :before)
    AND NOT EXISTS (SELECT 1 FROM intents WHERE intents.run = runs.run AND intents.outcome IS NULL) LIMIT 1
"""


class Lookups(abc.ABC):
    """A journal that can be asked."""

    @abc.abstractmethod
    def ask(self, question: str, parameters: Mapping[str, str]) -> Sequence[Sequence[Any]]:
        """Give the rows that answer an SQL question with named parameters. Raises errors.JournalError."""

    def approved(self, digest: str, *, now: datetime.datetime) -> bool:
        """Tell whether a plan's held changes are allowed at this moment."""
        return bool(self.ask(_APPROVED, {"digest": digest, "now": formats.time(now)}))

    def resolutions(self) -> dict[str, values.DriverId]:
        """Give whom each reference led to."""
        return dict(self.ask(_RESOLUTIONS, {}))  # type: ignore[arg-type]

    def fruitless(self, *, since: datetime.datetime) -> dict[Write, int]:
        """Count the writes that were done and not seen since."""
        start = formats.time(since)
        # A run that found everything in sync saw all that was written before it.
        start = self.ask(_SETTLED, {"since": start})[0][0] or start
        history = self.ask(_HISTORY, {"since": start})
        return unseen(
            (result, [((values.Action(row[2]), row[3], row[4]), row[5]) for row in rows])
            for (_, result), rows in itertools.groupby(history, key=operator.itemgetter(0, 1))
        )

    def anything_before(self, before: datetime.datetime) -> bool:
        """Tell whether there is a run to forget."""
        return bool(self.ask(_OLD, {"before": formats.time(before)}))


def unseen(history: Iterable[tuple[str | None, Sequence[tuple[Write, str | None]]]]) -> dict[Write, int]:
    """Count for each write how often in a row it was done, of runs in order: their result, and writes with outcome.

    A clean run that did not plan a write saw its effect, or did not want it any more: its row ends there, as it does
    where the opposite was done. A run that saw only a part ends nothing, nor does an outcome that is not done.
    """
    counts: dict[Write, int] = {}
    for result, writes in history:
        if result in CLEAN:
            planned = {write for write, _ in writes}
            counts = {write: count for write, count in counts.items() if write in planned}
        for write, outcome in writes:
            if outcome in DONE:
                counts[write] = counts.get(write, 0) + 1
                counts.pop(_opposite(write), None)
    return counts


def _opposite(write: Write) -> Write:
    action, driver, fleet = write
    other = values.Action.DETACH if action is values.Action.ATTACH else values.Action.ATTACH
    return (other, driver, fleet)
