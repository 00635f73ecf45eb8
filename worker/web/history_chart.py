"""The history as a small picture: one column a run, the newest on the right.

Invariant: what happened is told by shape as well as by colour. Neighbours: `parts` gives the runs,
`templates/parts/history.html` draws the columns as SVG.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

from worker.core.model.outcomes import Already, Applied
from worker.core.model.ports import PastRun
from worker.core.monitoring import humanize

MOST_RUNS: Final = 40
WIDTH: Final = 640
HEIGHT: Final = 88
BASE: Final = 76
_TALLEST: Final = 60
_LEAST: Final = 4
_DONE: Final = (Applied.name, Already.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One run: heights of what was done and of what was not, upwards from the base; `x` is its middle."""

    past: PastRun
    x: int
    done: int
    undone: int
    words: str


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """All columns, and the picture in words."""

    columns: tuple[Column, ...]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    base: int = BASE


def history_chart(newest_first: Sequence[PastRun]) -> Chart:
    """Lay out the last runs; heights grow with the root of the count, so that one change beside a thousand shows."""
    runs = newest_first[:MOST_RUNS]
    most = max((sum(past.outcomes.values()) for past in runs), default=0) or 1
    step = WIDTH // MOST_RUNS
    columns = [
        _column(past, x=WIDTH - step * index - step // 2, scale=_TALLEST / math.sqrt(most))
        for index, past in enumerate(runs)
    ]
    changed = sum(column.done > 0 for column in columns)
    failed = sum(past.result == "failed" for past in runs)
    summary = f"The last {humanize.count(len(runs), 'run')}: {changed} changed something, {failed} failed."
    return Chart(tuple(reversed(columns)), summary)


def _column(past: PastRun, *, x: int, scale: float) -> Column:
    total = sum(past.outcomes.values())
    done = sum(past.outcomes.get(name, 0) for name in _DONE)
    whole = max(2 * _LEAST, round(math.sqrt(total) * scale)) if total else 0
    high = round(whole * done / total) if total else 0
    if done < total:
        high = min(high, whole - _LEAST)
    said = ", ".join(f"{count} {name}" for name, count in past.outcomes.items() if count) or "no change"
    result = (past.result or "not finished").replace("_", " ")
    return Column(past, x, high, whole - high, f"{past.started:%Y-%m-%d %H:%M} {result}: {said}")
