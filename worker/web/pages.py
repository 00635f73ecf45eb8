"""The pages that people read: the overview, one run, one fleet, one driver.

Invariant: a page reads and changes nothing, and however large the account, it stays a page. Neighbours: `parts` has
those of the overview, `drawing` makes HTML, `app` gives the pages their addresses.
"""

import http
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from starlette import exceptions, requests, responses

from worker.core.model.desired import DriverById, FleetById
from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.ports import PastChange
from worker.core.model.serialization import past_report_document
from worker.core.monitoring import status
from worker.core.planning import references
from worker.web import fragments, security, service_protocol, templating

MOST_NAMES: Final = 20

log = structlog.get_logger()

_RUN: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MOST_CHANGES: Final = templating.MOST_ROWS + 1
"""One more than is shown tells whether there are older ones: all others would be read in the journal's one thread."""

_NO_PLAN: Final = {"held": (), "problems": (), "sources": ()}
_TITLES: Final = {
    400: "That was not understood",
    401: "The token is missing or wrong",
    403: "Not from there",
    404: "Nothing is here",
    405: "Not that way",
    408: "That took too long",
    409: "Nothing was approved",
    413: "That is too long",
    500: "This page is broken",
}


class Pages:
    """Answers with pages."""

    def __init__(self, service: service_protocol.ServiceProtocol, parts: fragments.Fragments) -> None:
        """Show this service."""
        self._service = service
        self._parts = parts

    async def overview(self, request: requests.Request) -> responses.Response:
        """Answer `GET /`."""
        approved = "approved" in request.query_params
        title, parts = await self._parts.look()
        return self._page("overview.html", parts=parts, title=title, approved=approved)

    async def run(self, request: requests.Request) -> responses.Response:
        """Answer `GET /runs/{run}`."""
        run = RunId(request.path_params["run"])
        past = await self._service.record.run(run) if _RUN.fullmatch(run) else None
        if past is None:
            raise exceptions.HTTPException(404, "The journal has no such run.")
        plan, report = await self._service.record.documents(run)
        changes = await self._service.record.changes(run=run)
        told = past_report_document(past, changes, plan=plan, report=report)
        return self._page("run.html", past=past, told=told, plan=told["plan"] or _NO_PLAN)

    async def fleet(self, request: requests.Request) -> responses.Response:
        """Answer `GET /fleets/{fleet}`."""
        fleet = _fleet(request.path_params["fleet"])
        known = {each.fleet: each for each in self._service.snapshot().fleets}
        changes = await self._service.record.changes(fleet=fleet, limit=_MOST_CHANGES) if fleet else ()
        if fleet is None or (fleet not in known and not changes):
            raise exceptions.HTTPException(404, "No such fleet is managed, and the journal has no change of one.")
        shown = known.get(fleet)
        return self._page("fleet.html", fleet=fleet, known=shown, changes=changes[::-1])

    async def drivers(self, request: requests.Request) -> responses.Response:
        """Answer `GET /drivers?q=&fleet=`: why a driver is where it is."""
        query = request.query_params.get("q", "").strip()[:200]
        where = request.query_params.get("fleet", "").strip()[:200]
        driver, fleet = _driver(query), _fleet(where)
        changes: Sequence[PastChange] = ()
        complaint = _complaint(query, where, found=driver is not None, fleet=fleet is not None)
        if driver is not None and not complaint:
            changes = await self._service.record.changes(driver=driver, fleet=fleet, limit=_MOST_CHANGES)
        people = [] if driver or not query else _people(self._service.snapshot(), query)
        return self._page(
            "drivers.html",
            query=query,
            where=where,
            driver=driver,
            complaint="" if people else complaint,
            people=people,
            changes=changes[::-1],
        )

    async def refused(self, request: requests.Request, error: Exception) -> responses.Response:
        """Answer what is not answered: an unknown address, a wrong method, a missing token."""
        status, detail, headers = 500, "", None
        if isinstance(error, exceptions.HTTPException):
            status, detail, headers = error.status_code, error.detail, error.headers
        title = _TITLES.get(status, "This cannot be answered")
        message = detail if detail != http.HTTPStatus(status).phrase else ""
        return self._error(title, status=status, message=message, headers=headers)

    async def failed(self, request: requests.Request, error: Exception) -> responses.Response:
        """Answer where the journal could not be asked."""
        remedy = error.remedy if isinstance(error, FleetSyncError) else ""
        log.warning("page_failed", path=request.url.path, error=str(error))
        return self._error("The journal does not answer", status=503, message=str(error), remedy=remedy)

    async def crashed(self, request: requests.Request, error: Exception) -> responses.Response:
        """Answer where the page itself is wrong, with all that every answer carries: this one passes no middleware."""
        log.error("page_crashed", path=request.url.path, exc_info=error)
        return self._error(_TITLES[500], status=500, message="The log says why.", headers=security.HEADERS)

    def _error(
        self, title: str, *, status: int, message: str, remedy: str = "", headers: Mapping[str, str] | None = None
    ) -> responses.Response:
        page = templating.render("error.html", title=title, message=message, remedy=remedy)
        return responses.HTMLResponse(page, status, headers)

    def _page(self, template: str, **shown: Any) -> responses.Response:
        return responses.HTMLResponse(templating.render(template, **self._shared(), **shown))

    def _shared(self) -> dict[str, Any]:
        present = self._service.snapshot()
        return {
            "present": present,
            "driver_names": present.driver_names,
            "names": {fleet.fleet: fleet.name for fleet in present.fleets},
        }


def _fleet(text: str) -> FleetId | None:
    """Give the fleet of this id, or None where it is none."""
    try:
        fleet = references.parse_fleet(text)
    except ValueError:
        return None
    return fleet.id if isinstance(fleet, FleetById) else None


def _driver(text: str) -> DriverId | None:
    """Give the driver of this id, or None where it is none."""
    try:
        driver = references.parse_driver(text)
    except ValueError:
        return None
    return driver.id if isinstance(driver, DriverById) else None


def _complaint(query: str, where: str, *, found: bool, fleet: bool) -> str:
    """Say what is wrong with a search, if anything is."""
    if query and not found:
        return (
            "Nobody in the last plan is called so. Of everybody else the journal knows the id:"
            " write drv_ and 32 letters or digits."
        )
    if where and not fleet:
        return "The journal knows fleets by id: write flt_ and 32 letters or digits."
    return ""


def _people(present: status.Status, query: str) -> list[tuple[DriverId, str]]:
    """Give drivers whose name or id has this in it."""
    wanted = query.casefold()
    found = (
        (driver, name)
        for driver, name in present.driver_names.items()
        if wanted in name.casefold() or wanted in driver.casefold()
    )
    return sorted(itertools.islice(found, MOST_NAMES), key=lambda item: (item[1].casefold(), item[0]))
