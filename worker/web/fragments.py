"""The status page in parts, each of which can be drawn and replaced by itself.

Invariant: the page and its live updates are made by the same code. Neighbours: `pages` puts the parts together, `feed`
sends those that changed, `core.overview` has the words.
"""

import itertools
from collections.abc import Mapping
from typing import Final

import markupsafe

from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import FleetId
from worker.core.model.plan import HeldChange
from worker.core.model.ports import PastRun
from worker.core.monitoring import alerts, status, summary
from worker.web import history_chart, service_protocol, templating

MOST_ITEMS: Final = 50
SHOWN_RUNS: Final = 10

NAMES: Final = ("said", "banner", "attention", "approve", "running", "fleets", "history", "facts")
"""The names of the parts in the order of the page; each is a template, and an element with that id."""

_History = tuple[tuple[PastRun, ...], FleetSyncError | None]


class Fragments:
    """Draws the parts."""

    def __init__(self, service: service_protocol.ServiceProtocol, *, approvable: bool) -> None:
        """Show the service; `approvable` says whether there is a token to approve with."""
        self._service = service
        self._approvable = approvable
        self._known: tuple[object, _History] | None = None

    async def drawn(self) -> Mapping[str, markupsafe.Markup]:
        """Draw all parts of the present moment; past runs are looked up again when one began or ended."""
        return (await self._present())[1]

    async def look(self) -> tuple[str, Mapping[str, markupsafe.Markup]]:
        """Draw all parts with whatever the journal says now; the title of the page comes first."""
        self._known = None
        return await self._present()

    async def _present(self) -> tuple[str, Mapping[str, markupsafe.Markup]]:
        present = self._service.snapshot()
        seen = (present.last and present.last.run, present.running and present.running.run)
        if self._known is None or self._known[0] != seen or self._known[1][1]:
            self._known = (seen, await self._history())
        return self._draw(present, self._known[1])

    async def _history(self) -> _History:
        """Look past runs up. A page that says what is broken must not break with the journal."""
        try:
            return await self._service.record.runs(limit=history_chart.MOST_RUNS), None
        except FleetSyncError as error:
            return (), error

    def _draw(self, present: status.Status, history: _History) -> tuple[str, Mapping[str, markupsafe.Markup]]:
        said, approval = summary.summarize(present), alerts.approval(present)
        title = _title(said.condition)
        runs, error = history
        shared = {
            "present": present,
            "condition": said.condition,
            "title": title,
            "headline": said.headline,
            "gist": said.gist,
            "items": said.items[:MOST_ITEMS],
            "more": max(0, len(said.items) - MOST_ITEMS),
            "approval": approval if self._approvable else None,
            "fleets": sorted(present.fleets, key=_interest)[: service_protocol.MOST_FLEETS],
            "names": {fleet.fleet: fleet.name for fleet in present.fleets},
            "groups": _groups(approval),
            "runs": runs[:SHOWN_RUNS],
            "chart": history_chart.history_chart(runs),
            "error": error,
        }
        return title, {name: templating.render(f"parts/{name}.html", **shared) for name in NAMES}


def _title(condition: summary.Condition) -> str:
    """Give what the browser shows on the page's tab."""
    return f"{condition.value.replace('_', ' ').capitalize()} – fleet-sync"  # noqa: RUF001


def _interest(fleet: status.Fleet) -> tuple[bool, str, str]:
    """Give the place in the table: first where something is not as it should be, then by name."""
    calm = not (fleet.drifted or fleet.held or fleet.frozen or fleet.refused or fleet.incomplete)
    return calm, fleet.name.casefold(), fleet.fleet


def _groups(approval: alerts.Approval | None) -> list[tuple[FleetId, list[HeldChange]]]:
    held = sorted(approval.held, key=lambda each: each.change.order) if approval else []
    return [(fleet, list(group)) for fleet, group in itertools.groupby(held, key=lambda each: each.change.fleet)]
