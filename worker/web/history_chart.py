"""Lays out the history chart: one column for each run, the newest on the right.

Invariant: every result has a shape of its own, not only a colour. Neighbours: `fragments` supplies the runs,
`templates/fragments/history.html` draws the columns as SVG.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

from worker.core.model.outcomes import Already, Applied
from worker.core.model.ports import PastRun
from worker.core.monitoring import humanize

MAX_RUNS: Final = 40
WIDTH: Final = 640
HEIGHT: Final = 88
BASE: Final = 76
_MAX_HEIGHT: Final = 60
_MIN_HEIGHT: Final = 4
_SUCCEEDED: Final = (Applied.name, Already.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One run. `done` and `undone` are heights above the base, `x` is the middle of the column."""

    past: PastRun
    x: int
    done: int
    undone: int
    description: str


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """All columns, and a description for screen readers."""

    columns: tuple[Column, ...]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    base: int = BASE


def history_chart(newest_first: Sequence[PastRun]) -> Chart:
    """Return the chart of the last runs. Heights follow the square root of the counts: small runs stay visible."""
    runs = newest_first[:MAX_RUNS]
    largest = max((sum(past.outcomes.values()) for past in runs), default=0) or 1
    step = WIDTH // MAX_RUNS
    columns = [
        _column(past, x=WIDTH - step * index - step // 2, scale=_MAX_HEIGHT / math.sqrt(largest))
        for index, past in enumerate(runs)
    ]
    changed = sum(column.done > 0 for column in columns)
    failed = sum(past.result == "failed" for past in runs)
    summary = f"The last {humanize.count(len(runs), 'run')}: {changed} changed something, {failed} failed."
    return Chart(tuple(reversed(columns)), summary)


def _column(past: PastRun, *, x: int, scale: float) -> Column:
    total = sum(past.outcomes.values())
    done = sum(past.outcomes.get(name, 0) for name in _SUCCEEDED)
    height = max(2 * _MIN_HEIGHT, round(math.sqrt(total) * scale)) if total else 0
    done_height = round(height * done / total) if total else 0
    if done < total:
        done_height = min(done_height, height - _MIN_HEIGHT)
    counts = ", ".join(f"{count} {name}" for name, count in past.outcomes.items() if count) or "no change"
    result = (past.result or "not finished").replace("_", " ")
    return Column(past, x, done_height, height - done_height, f"{past.started:%Y-%m-%d %H:%M} {result}: {counts}")
