"""The pages for people: the overview, one run, one fleet, one driver, and errors.

Invariant: a page changes nothing, and its size is bounded, however large the account is. Neighbours: `fragments`
renders the overview, `templating` makes HTML, `app` maps addresses to pages.
"""

import contextlib
import http
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
from worker.core.monitoring import open_changes, status
from worker.core.planning import near_misses, references
from worker.web import fragments, security, service_protocol, sessions, templating

MAX_MATCHES: Final = 20

log = structlog.get_logger()

_RUN: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MAX_CHANGES: Final = templating.MAX_ROWS + 1
"""Changes read for a page: one more than it shows, to know whether there are older ones."""

_NO_PLAN: Final = {"held": (), "shrunk": (), "problems": (), "sources": ()}
_TITLES: Final = {
    400: "Bad request",
    401: "The token is missing or incorrect",
    403: "Not allowed",
    404: "Page not found",
    405: "Method not allowed",
    408: "Request timed out",
    409: "Nothing was approved",
    413: "Request too large",
    500: "Internal error",
}


_DONE = {
    "approved": "Approved. The next run applies these changes if the plan is still the same.",
    "requested": "A run was requested. It begins as soon as the present one ends.",
    "paused": "Paused. Runs go on reading and planning, and write nothing.",
    "resumed": "Resumed. The next run writes again.",
}
"""What the overview says after an action, by the name in its address."""


class Pages:
    """Answers requests with pages."""

    def __init__(
        self,
        service: service_protocol.ServiceProtocol,
        overview: fragments.Fragments,
        people: sessions.Sessions,
        *,
        can_sign_in: bool,
    ) -> None:
        """Take the service, the renderer of its overview, and the sessions."""
        self._service = service
        self._overview = overview
        self._sessions = people
        self._can_sign_in = can_sign_in

    async def overview(self, request: requests.Request) -> responses.Response:
        """Answer `GET /`."""
        done = next((text for name, text in _DONE.items() if name in request.query_params), "")
        rendered = await self._overview.at(fragments.current_tick())
        return self.page(request, "overview.html", fragments=rendered.fragments, title=rendered.title, done=done)

    async def login(self, request: requests.Request) -> responses.Response:
        """Answer `GET /login`."""
        return self.login_page(status=200)

    def login_page(
        self, *, target: str = "/", name: str = "", error: str = "", status: int = 401
    ) -> responses.Response:
        """Return the page to sign in on, which leads to `target`."""
        if not self._can_sign_in:
            return self._error(
                "This page is not open to readers",
                status=403,
                message="The setting `status.anonymous_read` is false, and no token is set to sign in with.",
                remedy="Set `FLEET_SYNC_STATUS_TOKEN` to a random text of at least 16 characters and restart.",
            )
        page = templating.render("login.html", target=target, name=name, error=error)
        return responses.HTMLResponse(page, status)

    async def run(self, request: requests.Request) -> responses.Response:
        """Answer `GET /runs/{run}`."""
        run = RunId(request.path_params["run"])
        past = await self._service.record.run(run) if _RUN.fullmatch(run) else None
        if past is None:
            raise exceptions.HTTPException(404, "The journal has no run with this id.")
        plan, report = await self._service.record.documents(run)
        changes = await self._service.record.changes(run=run)
        document = past_report_document(past, changes, plan=plan, report=report)
        return self.page(request, "run.html", past=past, report=document, plan=document["plan"] or _NO_PLAN)

    async def fleet(self, request: requests.Request) -> responses.Response:
        """Answer `GET /fleets/{fleet}`."""
        fleet = _fleet_id(request.path_params["fleet"])
        known = {each.fleet: each for each in self._service.snapshot().fleets}
        changes = await self._service.record.changes(fleet=fleet, limit=_MAX_CHANGES) if fleet else ()
        if fleet is None or (fleet not in known and not changes):
            raise exceptions.HTTPException(404, "No managed fleet has this id, and the journal has no change to one.")
        present = self._service.snapshot()
        members = [each for each, fleets in present.reading.memberships.items() if fleet in fleets]
        names = await self._names(present, [*members, *(each.change.driver for each in changes)])
        return self.page(
            request,
            "fleet.html",
            fleet=fleet,
            known=known.get(fleet),
            members=sorted(members, key=lambda each: (names.get(each, "\uffff").casefold(), each)),
            open_changes=[each for each in open_changes.open_changes(present) if each.change.fleet == fleet],
            changes=changes[::-1],
            driver_names=names,
        )

    async def drivers(self, request: requests.Request) -> responses.Response:
        """Answer `GET /drivers?q=&fleet=`: the changes to a driver's memberships, or the drivers that match a name."""
        query = request.query_params.get("q", "").strip()[:200]
        fleet_query = request.query_params.get("fleet", "").strip()[:200]
        driver, fleet = _driver_id(query), _fleet_id(fleet_query)
        changes: Sequence[PastChange] = ()
        error = _search_error(query, driver, fleet_query, fleet)
        if driver is not None and not error:
            changes = await self._service.record.changes(driver=driver, fleet=fleet, limit=_MAX_CHANGES)
        present = self._service.snapshot()
        matches = [] if driver or not query else await self._find(present, query)
        names = await self._names(present, [*matches, *([driver] if driver else [])])
        return self.page(
            request,
            "drivers.html",
            driver_names=names,
            MAX_MATCHES=MAX_MATCHES,
            person=present.reading.people.get(driver) if driver else None,
            seen=present.reading.memberships.get(driver) if driver else None,
            wanted=open_changes.wanted_fleets(present, driver) if driver else frozenset(),
            open_changes=[each for each in open_changes.open_changes(present) if each.change.driver == driver],
            query=query,
            fleet_query=fleet_query,
            driver=driver,
            error="" if matches else error,
            matches=matches,
            changes=changes[::-1],
        )

    async def _find(self, present: status.Status, query: str) -> list[DriverId]:
        """Return drivers by any part of their name or address: those of the last reading, and those of the journal."""
        text = near_misses.fold(query)
        found = [
            driver
            for driver, person in present.reading.people.items()
            if text in near_misses.fold(person.name) or text in near_misses.fold(person.email) or query in driver
        ]
        found += [driver for driver, name in present.driver_names.items() if text in near_misses.fold(name)]
        with contextlib.suppress(FleetSyncError):  # the last reading needs no journal
            found += await self._service.record.drivers_named(query, limit=MAX_MATCHES)
        return list(dict.fromkeys(found))[:MAX_MATCHES]

    async def _names(self, present: status.Status, drivers: Sequence[DriverId]) -> dict[str, str]:
        """Return what drivers are called, by the last reading or else by the journal."""
        names: dict[str, str] = {driver: name for driver, name in present.driver_names.items()}
        names |= {each: present.reading.people[each].shown for each in drivers if each in present.reading.people}
        with contextlib.suppress(FleetSyncError):
            names = {**await self._service.record.names({each for each in drivers if each not in names}), **names}
        return names

    async def locked(self, request: requests.Request) -> responses.Response:
        """Answer every page while readers cannot sign in: other machines reach it, and no token is set."""
        return self._error(
            "This page needs a token",
            status=403,
            message="Other machines can reach this page, and no token is set. Probes and metrics stay available.",
            remedy="Set `FLEET_SYNC_STATUS_TOKEN` to a random text of at least 16 characters and restart fleet-sync; "
            'or set `status.listen = "127.0.0.1:8080"`, which only this machine can reach.',
        )

    async def http_error(self, request: requests.Request, error: Exception) -> responses.Response:
        """Answer a request that is not served: an unknown address, a wrong method, a missing token."""
        status, detail, headers = 500, "", None
        if isinstance(error, exceptions.HTTPException):
            status, detail, headers = error.status_code, error.detail, error.headers
        title = _TITLES.get(status, "Request failed")
        message = detail if detail != http.HTTPStatus(status).phrase else ""
        return self._error(title, status=status, message=message, headers=headers)

    async def journal_error(self, request: requests.Request, error: Exception) -> responses.Response:
        """Answer when the journal cannot be read or written."""
        remedy = error.remedy if isinstance(error, FleetSyncError) else ""
        log.warning("page_failed", path=request.url.path, error=str(error))
        return self._error("The journal is unavailable", status=503, message=str(error), remedy=remedy)

    async def defect(self, request: requests.Request, error: Exception) -> responses.Response:
        """Answer after a defect in a page. Adds the security headers itself: this response passes no middleware."""
        log.error("page_crashed", path=request.url.path, exc_info=error)
        return self._error(_TITLES[500], status=500, message="The log has the details.", headers=security.HEADERS)

    def _error(
        self, title: str, *, status: int, message: str, remedy: str = "", headers: Mapping[str, str] | None = None
    ) -> responses.Response:
        page = templating.render("error.html", title=title, message=message, remedy=remedy)
        return responses.HTMLResponse(page, status, headers)

    def page(self, request: requests.Request, template: str, **values: Any) -> responses.Response:
        """Return a page of the template, with what all pages show besides these values."""
        return responses.HTMLResponse(templating.render(template, **{**self._shared(request), **values}))

    def _shared(self, request: requests.Request) -> dict[str, Any]:
        present = self._service.snapshot()
        return {
            "present": present,
            "session": self._sessions.of(request),
            "can_sign_in": self._can_sign_in,
            "driver_names": present.driver_names,
            "names": {fleet.fleet: fleet.name for fleet in present.fleets},
        }


def _fleet_id(text: str) -> FleetId | None:
    """Return the text as a fleet's id, or None if it is not one."""
    try:
        fleet = references.parse_fleet(text)
    except ValueError:
        return None
    return fleet.id if isinstance(fleet, FleetById) else None


def _driver_id(text: str) -> DriverId | None:
    """Return the text as a driver's id, or None if it is not one."""
    try:
        driver = references.parse_driver(text)
    except ValueError:
        return None
    return driver.id if isinstance(driver, DriverById) else None


def _search_error(query: str, driver: DriverId | None, fleet_query: str, fleet: FleetId | None) -> str:
    """Return what is wrong with a search, or an empty text."""
    if query and driver is None:
        return (
            "No driver of the last reading has this name or address, and the journal knows none. Enter another part of "
            "it, or the driver's id: drv_ followed by 32 letters or digits."
        )
    if fleet_query and fleet is None:
        return "Enter the fleet's id: flt_ followed by 32 letters or digits."
    return ""
