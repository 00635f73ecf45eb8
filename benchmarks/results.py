"""Figures and how they are shown.

Invariant: a figure that has a goal says whether it was reached. Neighbours: every benchmark gives these, `__main__`
writes them.
"""

import dataclasses
import statistics
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure; `goal` is the target, `holds` whether it was reached."""

    what: str
    value: str
    goal: str = ""
    holds: bool = True

    def __str__(self) -> str:
        """Write the figure as one line."""
        goal = f"   goal: {self.goal}{'' if self.holds else '   MISSED'}" if self.goal else ""
        return f"  {self.what:<58} {self.value:>12}{goal}"


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What some requests, or other pieces of work, took: wall-clock seconds, and CPU seconds of this process."""

    pieces: int
    wall: float
    cpu: float


def per_second(costs: Iterable[Cost]) -> float:
    """Return the median of pieces per second."""
    return statistics.median(cost.pieces / cost.wall for cost in costs)


def cpu_ms(costs: Iterable[Cost]) -> float:
    """Return the median of CPU milliseconds per piece."""
    return statistics.median(1000 * cost.cpu / cost.pieces for cost in costs)


def at_least(what: str, value: float, goal: float, *, form: str = ".2f") -> Figure:
    """Make a figure with a lower limit."""
    return Figure(what, format(value, form), f"at least {format(goal, form)}", value >= goal)


def at_most(what: str, value: float, goal: float, *, form: str = ".2f") -> Figure:
    """Make a figure with an upper limit."""
    return Figure(what, format(value, form), f"at most {format(goal, form)}", value <= goal)
