"""What befalls one life, at chosen moments: death, signals, pauses, a lost lock, a full disk, a revoked key, meddlers.

Invariant: things happen only at a point, and points stand before and after everything that leaves the process: so a
seed decides them all. Neighbours: `wire` and `disk` pass a point at each await that matters, `draw` chooses moments.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence

from tests.simulation import audit


class Killed(BaseException):
    """The process is gone: no code of this life may do anything any more."""


@dataclasses.dataclass(frozen=True)
class Moment:
    """The `nth` time (from 1) that a life passes a point of this kind, this happens. The kind `any` is every point."""

    kind: str
    nth: int
    what: str


class FaultPoints:
    """The points of one life, and what happens at them."""

    def __init__(
        self,
        moments: Sequence[Moment],
        *,
        who: str,
        seen: audit.Audit,
        strike: Mapping[str, Callable[[], None]],
        meddle: Callable[[], None],
    ) -> None:
        """Take what is to happen when, how each thing is done, and what other writers do at every point."""
        self._moments = {(moment.kind, moment.nth): moment.what for moment in moments}
        self._passed: collections.Counter[str] = collections.Counter()
        self._who = who
        self._seen = seen
        self._strike = strike
        self._meddle = meddle
        self.dead = False

    def point(self, kind: str) -> None:
        """Pass a point. Raises Killed where this life ends here, or has ended."""
        self.alive()
        self._meddle()
        for name in (kind, "any"):
            self._passed[name] += 1
            what = self._moments.get((name, self._passed[name]))
            if what is not None:
                self._seen.note(self._who, f"!! {what} at {kind} {self._passed[kind]}")
                self._seen.counts[f"moment {what}"] += 1
                self._strike[what]()
        self.alive()

    def alive(self) -> None:
        """Raise Killed where this life has ended."""
        if self.dead:
            raise Killed
