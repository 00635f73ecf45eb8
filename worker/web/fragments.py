"""The overview in fragments, each of which can be rendered and replaced on its own.

Invariant: the page and its live updates come from the same rendering, which happens at most once a tick, however many
read. Neighbours: `pages` puts the fragments together, `live_updates` sends those that changed,
`core.monitoring.summary` has the sentences.
"""

import dataclasses
import datetime
import itertools
from collections.abc import Mapping
from typing import Final

import anyio
import markupsafe

from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import FleetId, RunId
from worker.core.model.plan import HeldChange
from worker.core.model.ports import PastRun
from worker.core.monitoring import alerts, status, summary
from worker.web import history_chart, lists, service_protocol, templating

MAX_ALERTS: Final = 50
MAX_RUNS: Final = 10
MAX_FLEETS: Final = 25
"""Rows of the overview; `lists` has all of them."""

NAMES: Final = ("announcement", "banner", "attention", "approve", "running", "fleets", "history", "facts")
"""The fragments in the order of the page. Each name is a template's and an element's id."""

TICK_SECONDS: Final = 1.0
"""Time is cut into ticks, numbered from the clock's zero; readers in the same tick share a rendering."""


@dataclasses.dataclass(frozen=True, slots=True)
class _History:
    """What the overview shows of the past, or the error that kept it from being read."""

    runs: tuple[PastRun, ...] = ()
    chart: history_chart.Chart | None = None
    error: FleetSyncError | None = None


def current_tick() -> int:
    """Return the number of the present tick."""
    return int(anyio.current_time() // TICK_SECONDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    """One rendering: the page's title, and the fragments by name."""

    tick: int
    title: str
    fragments: Mapping[str, markupsafe.Markup]


class Fragments:
    """Renders the fragments."""

    def __init__(
        self, service: service_protocol.ServiceProtocol, place: templating.Place = templating.ROOT, *, approvable: bool
    ) -> None:
        """Take the service and where its pages are; `approvable` offers the approval form, which needs a token."""
        self._service = service
        self._place = place
        self._approvable = approvable
        self._rendering = anyio.Lock()
        self._rendered: Rendered | None = None
        self._chart: tuple[tuple[RunId | None, datetime.date], history_chart.Chart] | None = None

    async def at(self, tick: int) -> Rendered:
        """Return the rendering of this tick or a later one; the first caller of a tick makes it."""
        async with self._rendering:
            if self._rendered is None or self._rendered.tick < tick:
                present = self._service.snapshot()
                self._rendered = self._render(tick, present, await self._history(present))
            return self._rendered

    async def _history(self, present: status.Status) -> _History:
        """Read past runs. Returns the error, if any: the page that reports a broken journal must not need it."""
        try:
            return _History(await self._service.record.runs(limit=MAX_RUNS + 1), await self._changes_a_day(present))
        except FleetSyncError as error:
            return _History(error=error)

    async def _changes_a_day(self, present: status.Status) -> history_chart.Chart:
        """Return the chart; the changes are counted once a run and day, because there may be very many."""
        today = present.now.date()
        key = (present.last.run if present.last else None, today)
        if self._chart is None or self._chart[0] != key:
            start = datetime.datetime.combine(history_chart.first_day(today), datetime.time(), datetime.UTC)
            days = await self._service.record.changes_a_day(since=start)
            self._chart = key, history_chart.history_chart(days, today=today)
        return self._chart[1]

    def _render(self, tick: int, present: status.Status, history: _History) -> Rendered:
        summarized, approval = summary.summarize(present), alerts.approval(present)
        title = _title(summarized.condition)
        values = {
            "present": present,
            "condition": summarized.condition,
            "title": title,
            "headline": summarized.headline,
            "gist": summarized.gist,
            "items": summarized.items[:MAX_ALERTS],
            "more": max(0, len(summarized.items) - MAX_ALERTS),
            "approval": approval if self._approvable else None,
            "fleets": sorted(present.fleets, key=lists.by_urgency)[:MAX_FLEETS],
            "names": {fleet.fleet: fleet.name for fleet in present.fleets},
            "groups": _by_fleet(approval),
            "runs": history.runs[:MAX_RUNS],
            "has_older": len(history.runs) > MAX_RUNS,
            "chart": history.chart,
            "error": history.error,
        }
        rendered = {name: templating.render(f"fragments/{name}.html", place=self._place, **values) for name in NAMES}
        return Rendered(tick, title, rendered)


def _title(condition: summary.Condition) -> str:
    """Return the title of the browser's tab."""
    return f"{condition.value.replace('_', ' ').capitalize()} – fleet-sync"  # noqa: RUF001


def _by_fleet(approval: alerts.Approval | None) -> list[tuple[FleetId, list[HeldChange]]]:
    held = sorted(approval.held, key=lambda each: each.change.order) if approval else []
    return [(fleet, list(group)) for fleet, group in itertools.groupby(held, key=lambda each: each.change.fleet)]
