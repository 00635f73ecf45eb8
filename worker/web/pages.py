"""The pages of an account for people: the overview, one run, one fleet, one driver.

Invariant: a page changes nothing, and its size is bounded, however large the account is. Neighbours: `fragments`
renders the overview, `public_pages` has the pages to sign in and of errors, `app` maps addresses to pages.
"""

import contextlib
import re
from collections.abc import Sequence
from typing import Any, Final

from starlette import exceptions, requests, responses

from worker.core.model.desired import DriverById, FleetById
from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.ports import PastChange
from worker.core.model.serialization import past_report_document
from worker.core.monitoring import open_changes, status
from worker.core.planning import near_misses, references
from worker.web import fragments, public_pages, service_protocol, sessions, templating

MAX_MATCHES: Final = 20

_RUN: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MAX_CHANGES: Final = templating.MAX_ROWS + 1
"""Changes read for a page: one more than it shows, to know whether there are older ones."""

_NO_PLAN: Final = {"held": (), "shrunk": (), "problems": (), "sources": ()}
_DONE = {
    "approved": "Approved. The next run applies these changes if the plan is still the same.",
    "requested": "A run was requested. It begins as soon as the present one ends.",
    "paused": "Paused. Runs go on reading and planning, and write nothing.",
    "resumed": "Resumed. The next run writes again.",
}
"""What the overview says after an action, by the name in its address."""


class Pages(public_pages.PublicPages):
    """Answers requests with pages."""

    def __init__(
        self,
        service: service_protocol.ServiceProtocol,
        overview: fragments.Fragments,
        people: sessions.Sessions,
        place: templating.Place,
        *,
        can_sign_in: bool,
    ) -> None:
        """Take the service, the renderer of its overview, the sessions, and where the pages are."""
        super().__init__(place, can_sign_in=can_sign_in)
        self._service = service
        self._overview = overview
        self._sessions = people

    async def overview(self, request: requests.Request) -> responses.Response:
        """Answer `GET /`."""
        done = next((text for name, text in _DONE.items() if name in request.query_params), "")
        rendered = await self._overview.at(fragments.current_tick())
        return self.page(request, "overview.html", fragments=rendered.fragments, title=rendered.title, done=done)

    async def run(self, request: requests.Request) -> responses.Response:
        """Answer `GET /runs/{run}`."""
        run = RunId(request.path_params["run"])
        past = await self._service.record.run(run) if _RUN.fullmatch(run) else None
        if past is None:
            raise exceptions.HTTPException(404, "The journal has no run with this id.")
        plan, report = await self._service.record.documents(run)
        changes = await self._service.record.changes(run=run)
        document = past_report_document(past, changes, plan=plan, report=report)
        found = document["plan"] or _NO_PLAN
        problems = [*found["problems"], *document["problems"]]
        shared = self._shared(request)
        return self.page(
            request,
            "run.html",
            past=past,
            report=document,
            plan=found,
            open_changes=open_changes.held_in_document(found),
            problems=[each for each in problems if not each["note"]],
            notes=[each for each in problems if each["note"]],
            names={**document["names"], **shared["names"]},
            driver_names={**document["names"], **shared["driver_names"]},
        )

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
        matches.sort(key=lambda each: (names.get(each, "\uffff").casefold(), each))
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

    def page(self, request: requests.Request, template: str, **values: Any) -> responses.Response:
        """Return a page of the template, with what all pages show besides these values."""
        return responses.HTMLResponse(self._rendered(template, **{**self._shared(request), **values}))

    def _shared(self, request: requests.Request) -> dict[str, Any]:
        present = self._service.snapshot()
        return {
            "by_reason": open_changes.by_reason,
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
