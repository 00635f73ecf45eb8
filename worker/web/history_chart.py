"""Lays out the chart of changes by day: one bar for each of the last `DAYS`, today on the right.

Invariant: every kind of outcome has its own pattern as well as a colour, and the description says in words what the
chart shows. Neighbours: `fragments` supplies the counts, `templates/fragments/history.html` draws the bars as SVG.
"""

import dataclasses
import datetime
import itertools
from collections.abc import Mapping
from typing import Final

from worker.core.model.outcomes import Already, Applied, Deferred, Refused, Stale, Unknown

DAYS: Final = 14
WIDTH: Final = 640
HEIGHT: Final = 150
BASE: Final = 122
_TOP: Final = 24
_LEFT: Final = 64
_BAR: Final = 22
_LEAST: Final = 2
"""Height of the smallest part of a bar: a single refusal among thousands of changes stays visible."""

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "done": (Applied.name, Already.name),
    "refused": (Refused.name,),
    "waiting": (Deferred.name, Stale.name, Unknown.name),
}
"""The parts of a bar from below, each with the outcomes that it counts."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar, of one kind, between the heights `y` and `y + height` below the top."""

    kind: str
    y: float
    height: float


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """One day; `x` is the middle of the bar. `label` is empty unless the axis names this day."""

    x: float
    parts: tuple[Part, ...]
    description: str
    label: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A line of the grid, at the height `y` below the top, with its number of changes."""

    y: float
    label: str


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """All bars and the grid, with a description for screen readers; no bars if there was no change."""

    bars: tuple[Bar, ...]
    grid: tuple[Line, ...]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    base: int = BASE
    bar: int = _BAR


def first_day(today: datetime.date) -> datetime.date:
    """Return the day of the leftmost bar."""
    return today - datetime.timedelta(days=DAYS - 1)


def history_chart(days: Mapping[datetime.date, Mapping[str, int]], *, today: datetime.date) -> Chart:
    """Return the chart of the days up to `today`. `days` counts changes by outcome, without the empty days."""
    shown = [first_day(today) + datetime.timedelta(days=number) for number in range(DAYS)]
    counts = [_by_kind(days.get(day, {})) for day in shown]
    largest = max(sum(count.values()) for count in counts)
    if not largest:
        return Chart((), (), f"No changes in the last {DAYS} days.")
    top = _rounded_up(largest)
    step = (WIDTH - _LEFT) / DAYS
    bars = tuple(
        _bar(day, count, x=_LEFT + step * (number + 0.5), top=top, label=_label(day, today))
        for number, (day, count) in enumerate(zip(shown, counts, strict=True))
    )
    ticks = (top, top // 2, 0) if top % 2 == 0 else (top, 0)
    total = {kind: sum(count[kind] for count in counts) for kind in KINDS}
    summary = f"Changes per day in the last {DAYS} days: {_said(total)}, and at most {largest:,} a day."
    return Chart(bars, tuple(Line(_y(tick, top), f"{tick:,}") for tick in ticks), summary)


def _by_kind(counts: Mapping[str, int]) -> dict[str, int]:
    return {kind: sum(counts.get(name, 0) for name in names) for kind, names in KINDS.items()}


def _rounded_up(largest: int) -> int:
    """Return the top of the scale: the next 1, 2 or 5 followed by zeros."""
    step = 1
    for factor in itertools.cycle((2, 2.5, 2)):
        if step >= largest:
            break
        step = round(step * factor)
    return step


def _y(count: float, top: int) -> float:
    return round(BASE - (BASE - _TOP) * count / top, 1)


def _bar(day: datetime.date, counts: Mapping[str, int], *, x: float, top: int, label: str) -> Bar:
    parts, y = [], float(BASE)
    for kind, count in counts.items():
        if count:
            height = max(_LEAST, BASE - _y(count, top))
            y = round(y - height, 1)
            parts.append(Part(kind, y, round(height, 1)))
    return Bar(round(x, 1), tuple(parts), f"{day:%Y-%m-%d}: {_said(counts)}", label)


def _label(day: datetime.date, today: datetime.date) -> str:
    """Return the text below a bar: every fourth day back from today has one, which fits a phone."""
    back = (today - day).days
    if back == 0:
        return "today"
    return f"{day.day} {day:%b}" if back % 4 == 0 else ""


def _said(counts: Mapping[str, int]) -> str:
    words = {"done": "done", "refused": "refused", "waiting": "not made yet"}
    found = [f"{count:,} {words[kind]}" for kind, count in counts.items() if count]
    return ", ".join(found) or "no changes"
