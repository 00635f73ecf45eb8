"""Finds out which processes of a cluster are dead, by watching their heartbeats.

Invariants: nothing is concluded from the time that another machine shows; time in which the database did not answer
hardly counts, because no process could show a sign of life then. Pure. Neighbours: `job_queue` asks once a second.
"""

from collections.abc import Mapping

MOST_PER_CHECK = 2.0
"""Seconds that can pass at most between two checks, as far as they count."""


class StallWatch:
    """What was seen of the other processes."""

    def __init__(self, *, seconds: float) -> None:
        """Take how long a process may show no sign of life."""
        self._seconds = seconds
        self._seen: dict[str, tuple[int, float]] = {}
        self._checked: float | None = None

    def dead_workers(self, beats: Mapping[str, int], *, asked: float, answered: float) -> Mapping[str, int]:
        """Return the processes that have shown no sign of life for too long, with the heartbeats that they had.

        `asked` and `answered` are moments of one clock that goes on while the machine sleeps.
        """
        passed = 0.0 if self._checked is None else min(MOST_PER_CHECK, max(0.0, asked - self._checked))
        self._checked = answered
        seen = {}
        for worker, number in beats.items():
            before, silent = self._seen.get(worker, (None, 0.0))
            seen[worker] = (number, silent + passed if before == number else 0.0)
        self._seen = seen
        return {worker: number for worker, (number, silent) in sorted(seen.items()) if silent >= self._seconds}
