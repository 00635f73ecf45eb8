"""Lets incidents happen to a process: crashes, signals, pauses, a lost lock, a full disk, a revoked key, other writers.

Invariant: incidents happen only at a point, and there are points before and after everything that leaves the process,
so that the seed decides all of them. Neighbours: `network`, `documents` and `fake_journal` pass a point at each await
that matters; `draw` chooses the incidents.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence

from tests.simulation import audit


class Killed(BaseException):
    """The process is dead: none of its code may do anything any more."""


@dataclasses.dataclass(frozen=True)
class Incident:
    """What happens the `nth` time (from 1) that a process passes a point of this kind; `any` is every point."""

    kind: str
    nth: int
    what: str


class FaultPoints:
    """The points of one process, and its incidents."""

    def __init__(
        self,
        incidents: Sequence[Incident],
        *,
        who: str,
        seen: audit.Audit,
        effects: Mapping[str, Callable[[], None]],
        at_every_point: Callable[[], None],
    ) -> None:
        """Store the incidents, the effect of each kind, and what may happen at every point."""
        self._incidents = {(incident.kind, incident.nth): incident.what for incident in incidents}
        self._passed: collections.Counter[str] = collections.Counter()
        self._who = who
        self._seen = seen
        self._effects = effects
        self._at_every_point = at_every_point
        self.dead = False

    def point(self, kind: str) -> None:
        """Pass a point. Raises Killed if the process dies here, or is dead."""
        self.alive()
        self._at_every_point()
        for name in (kind, "any"):
            self._passed[name] += 1
            what = self._incidents.get((name, self._passed[name]))
            if what is not None:
                self._seen.note(self._who, f"!! {what} at {kind} {self._passed[kind]}")
                self._seen.counts[f"incident {what}"] += 1
                self._effects[what]()
        self.alive()

    def alive(self) -> None:
        """Raise Killed if the process is dead."""
        if self.dead:
            raise Killed
