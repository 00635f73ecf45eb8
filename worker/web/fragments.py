"""The overview in fragments, each of which can be rendered and replaced on its own.

Invariant: the page and its live updates come from the same rendering, which happens at most once a tick, however many
read. Neighbours: `pages` puts the fragments together, `live_updates` sends those that changed,
`core.monitoring.summary` has the sentences.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Final

import anyio
import markupsafe

from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import FleetId
from worker.core.model.plan import HeldChange
from worker.core.model.ports import PastRun
from worker.core.monitoring import alerts, status, summary
from worker.web import history_chart, service_protocol, templating

MAX_ALERTS: Final = 50
MAX_RUNS: Final = 10

NAMES: Final = ("announcement", "banner", "attention", "approve", "running", "fleets", "history", "facts")
"""The fragments in the order of the page. Each name is a template's and an element's id."""

TICK_SECONDS: Final = 1.0
"""Time is cut into ticks, numbered from the clock's zero; readers in the same tick share a rendering."""

_History = tuple[tuple[PastRun, ...], FleetSyncError | None]


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

    def __init__(self, service: service_protocol.ServiceProtocol, *, approvable: bool) -> None:
        """Take the service; `approvable` offers the approval form, which needs a configured token."""
        self._service = service
        self._approvable = approvable
        self._rendering = anyio.Lock()
        self._rendered: Rendered | None = None

    async def at(self, tick: int) -> Rendered:
        """Return the rendering of this tick or a later one; the first caller of a tick makes it."""
        async with self._rendering:
            if self._rendered is None or self._rendered.tick < tick:
                history = await self._history()
                self._rendered = self._render(tick, self._service.snapshot(), history)
            return self._rendered

    async def _history(self) -> _History:
        """Read past runs. Returns the error, if any: the page that reports a broken journal must not need it."""
        try:
            return await self._service.record.runs(limit=history_chart.MAX_RUNS), None
        except FleetSyncError as error:
            return (), error

    def _render(self, tick: int, present: status.Status, history: _History) -> Rendered:
        summarized, approval = summary.summarize(present), alerts.approval(present)
        title = _title(summarized.condition)
        runs, error = history
        values = {
            "present": present,
            "condition": summarized.condition,
            "title": title,
            "headline": summarized.headline,
            "gist": summarized.gist,
            "items": summarized.items[:MAX_ALERTS],
            "more": max(0, len(summarized.items) - MAX_ALERTS),
            "approval": approval if self._approvable else None,
            "fleets": sorted(present.fleets, key=_urgency)[: service_protocol.MAX_FLEETS],
            "names": {fleet.fleet: fleet.name for fleet in present.fleets},
            "groups": _by_fleet(approval),
            "runs": runs[:MAX_RUNS],
            "chart": history_chart.history_chart(runs),
            "error": error,
        }
        rendered = {name: templating.render(f"fragments/{name}.html", **values) for name in NAMES}
        return Rendered(tick, title, rendered)


def _title(condition: summary.Condition) -> str:
    """Return the title of the browser's tab."""
    return f"{condition.value.replace('_', ' ').capitalize()} – fleet-sync"  # noqa: RUF001


def _urgency(fleet: status.Fleet) -> tuple[bool, str, str]:
    """Return the sort key of a fleet: fleets that are not in sync first, then by name."""
    in_sync = not (fleet.drifted or fleet.held or fleet.frozen or fleet.refused or fleet.incomplete)
    return in_sync, fleet.name.casefold(), fleet.fleet


def _by_fleet(approval: alerts.Approval | None) -> list[tuple[FleetId, list[HeldChange]]]:
    held = sorted(approval.held, key=lambda each: each.change.order) if approval else []
    return [(fleet, list(group)) for fleet, group in itertools.groupby(held, key=lambda each: each.change.fleet)]
