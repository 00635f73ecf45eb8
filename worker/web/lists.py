"""The pages that list all fleets and all runs, a part at a time.

Invariant: a page has at most `ROWS` rows, and the links on it keep filter and order. Neighbours: `pages` has the other
pages, `fragments` the first rows of both lists.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette import requests, responses

from worker.core.model.identifiers import RunId
from worker.core.model.report import RunResult
from worker.core.monitoring import status
from worker.web import service_protocol

ROWS: Final = 50

FLEET_STATES: Final = ("drifted", "held", "frozen", "refused", "incomplete")
"""The states of a fleet other than in sync, named like its fields."""

_IN_SYNC: Final = "in_sync"

Render = Callable[..., responses.Response]


class Lists:
    """Answers requests with lists."""

    def __init__(self, service: service_protocol.ServiceProtocol, render: Render) -> None:
        """Take the service, and the function that renders a template with values for a request."""
        self._service = service
        self._render = render

    async def runs(self, request: requests.Request) -> responses.Response:
        """Answer `GET /runs?result=&before=`: runs with this result that are older than `before`, newest first."""
        result = _chosen(request, "result", tuple(RunResult))
        before = request.query_params.get("before") or None
        found = await self._service.record.runs(
            limit=ROWS + 1, before=RunId(before) if before else None, result=result or None
        )
        older = found[ROWS - 1].run if len(found) > ROWS else None
        return self._render(request, "runs.html", runs=found[:ROWS], result=result, before=before, older=older)

    async def fleets(self, request: requests.Request) -> responses.Response:
        """Answer `GET /fleets?state=&sort=&page=`: the managed fleets in this state."""
        state = _chosen(request, "state", (_IN_SYNC, *FLEET_STATES))
        sort = _chosen(request, "sort", tuple(ORDERS)) or next(iter(ORDERS))
        every = self._service.snapshot().fleets
        found = sorted((fleet for fleet in every if not state or _is(fleet, state)), key=ORDERS[sort])
        last = max(1, -(-len(found) // ROWS))
        page = min(max(1, _number(request.query_params.get("page", ""))), last)
        counts = {name: sum(_is(fleet, name) for fleet in every) for name in (_IN_SYNC, *FLEET_STATES)}
        values: dict[str, Any] = {"state": state, "sort": sort, "page": page, "last": last, "counts": counts}
        shown = found[(page - 1) * ROWS : page * ROWS]
        return self._render(request, "fleets.html", fleets=shown, found=len(found), total=len(every), **values)


def by_urgency(fleet: status.Fleet) -> tuple[bool, str, str]:
    """Return the sort key of a fleet: fleets that are not in sync first, then by name."""
    return _is(fleet, _IN_SYNC), fleet.name.casefold(), fleet.fleet


ORDERS: Final[Mapping[str, Callable[[status.Fleet], Any]]] = {
    "urgency": by_urgency,
    "name": lambda fleet: (fleet.name.casefold(), fleet.fleet),
    "members": lambda fleet: (-fleet.in_sync, fleet.name.casefold(), fleet.fleet),
}
"""The orders of fleets; the first is the usual one."""


def _is(fleet: status.Fleet, state: str) -> bool:
    """Return whether a fleet is in a state: in sync, or one of `FLEET_STATES`, of which it may have several."""
    if state == _IN_SYNC:
        return not any(getattr(fleet, name) for name in FLEET_STATES)
    return bool(getattr(fleet, state))


def _chosen(request: requests.Request, name: str, choices: tuple[str, ...]) -> str:
    """Return the value of a parameter, or an empty text unless it is one of the choices."""
    value = request.query_params.get(name, "")
    return str(value) if value in choices else ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 1
