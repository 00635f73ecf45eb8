"""The endpoints: the effect of each request on the state, and its answer.

Invariant: an endpoint never waits, so a write is never half done.
Neighbours: `app` calls `perform`, through `idempotency` for writes; `objects` encodes objects, `pages` cuts lists into
pages, and `state` holds the account.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from worker.sandbox import http_types, objects, pages, quirks, state

MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 10
STATUSES: Final = frozenset({"active", "suspended", "archived"})
ALLOWED: Final = {
    "drivers": "GET",
    "driver": "GET",
    "fleets": "GET",
    "fleet": "GET",
    "attach": "POST",
    "detach": "POST",
}


Quirks = quirks.Quirks
SandboxState = state.SandboxState
# Two fields of `Call` have the names of these modules, so its annotations cannot refer to the modules.


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request and everything needed to answer it. `now` is the wall-clock time in seconds since 1970."""

    request: http_types.Request
    state: SandboxState
    quirks: Quirks
    fault: str | None
    now: float


def perform(call: Call) -> http_types.Answer:
    """Carry out a request and return its answer."""
    if call.fault == "500":
        return failure(call)
    if call.fault == "forbidden" or not call.quirks.forbidden.isdisjoint(_objects_of(call.request)):
        return objects.error(call.request, 403, None, "This key may not access this object.")
    try:
        return _HANDLERS[call.request.route](call)
    except objects.Refused as refused:
        return refused.answer


def misdirected(request: http_types.Request) -> http_types.Answer | None:
    """Return the error for a path or method that no endpoint serves, or None."""
    allowed = ALLOWED.get(request.route)
    if allowed is None:
        return objects.error(request, 404, None, f"There is nothing at {request.path}.")
    if request.method != allowed:
        return objects.error(request, 405, None, f"{request.path} takes {allowed} only.")
    return None


def failure(call: Call) -> http_types.Answer:
    """Return a 500, which leaves the outcome of a write unknown."""
    return objects.error(call.request, 500, None, "Something went wrong on our side.")


def _objects_of(request: http_types.Request) -> set[str]:
    """Return the ids of the driver and the fleets that a request is about."""
    named = {request.subject, request.query.get("fleet", ""), request.query.get("driver", "")}
    if request.route in http_types.WRITES:
        named.add(_body_fleet(request) or "")
    return named


def _list_drivers(call: Call) -> http_types.Answer:
    query = call.request.query
    ids: Sequence[str] = ()
    fleet = query.get("fleet")
    if fleet is None or _exists(call, "fleet", known=fleet in call.state.fleets):
        ids = call.state.newest_drivers(fleet)
    if "vehicle" in query:
        owner = _owner(call, query["vehicle"])
        ids = [driver for driver in ids if driver == owner]
    return _page(call, ids, objects.driver)


def _list_fleets(call: Call) -> http_types.Answer:
    query = call.request.query
    ids: Sequence[str] = call.state.newest_fleets()
    status = query.get("status")
    if status is not None:
        if status not in STATUSES:
            raise _bad(call, "status", "status is active, suspended or archived.")
        ids = [fleet for fleet in ids if call.state.fleets[fleet].status == status]
    if "driver" in query:
        known = _exists(call, "driver", known=query["driver"] in call.state.drivers)
        ids = _common(ids, call.state.fleets_of(query["driver"]) if known else ())
    if "vehicle" in query:
        owner = _owner(call, query["vehicle"])
        ids = _common(ids, call.state.fleets_of(owner) if owner else ())
    return _page(call, ids, objects.fleet)


def _page(
    call: Call, ids: Sequence[str], show: Callable[[state.SandboxState, str, quirks.Quirks], dict[str, Any]]
) -> http_types.Answer:
    limit = _limit(call)
    try:
        cursor = pages.cursor(call.request, limit)
    except ValueError as error:
        raise _bad(call, "page", str(error)) from None
    cap = call.quirks.page_cap
    listing = pages.Listing(
        request=call.request,
        ids=ids if cap is None else ids[:cap],
        limit=limit,
        stable=call.quirks.pages == "cursor",
        number=call.state.number,
    )
    page = listing.page(cursor, call.fault)
    data = [show(call.state, id, call.quirks) for id in page.ids]
    if data and call.fault == "malformed":
        data[len(data) // 2] = objects.malform(data[len(data) // 2], "surrogate")
    payload = {
        "data": None if not data and call.quirks.null_lists else data,
        "next_page_url": page.next_page_url,
        "previous_page_url": page.previous_page_url,
    }
    return objects.answer(payload | {"total_pages_hint": None} if call.quirks.unknown_values else payload)


def _driver(call: Call) -> http_types.Answer:
    driver = call.request.subject
    if driver not in call.state.drivers or call.fault == "not_found":
        raise _missing(call, "driver")
    return objects.answer(objects.driver(call.state, driver, call.quirks))


def _fleet(call: Call) -> http_types.Answer:
    fleet = call.request.subject
    if fleet not in call.state.fleets or call.fault == "not_found":
        raise _missing(call, "fleet")
    return objects.answer(objects.fleet(call.state, fleet, call.quirks))


def _attach(call: Call) -> http_types.Answer:
    driver, fleet = _membership(call)
    if fleet in call.state.fleets_of(driver):
        if call.quirks.already_attached == "conflict":
            raise _conflict(call, "The driver is attached to this fleet already.")
    else:
        driver_admitted = _admit(call, "driver", call.state.drivers[driver].status)
        fleet_admitted = _admit(call, "fleet", call.state.fleets[fleet].status)
        if not (driver_admitted and fleet_admitted):
            return objects.answer(objects.driver(call.state, driver, call.quirks))
    if call.fault == "not_kept" or driver in call.quirks.not_kept:
        return _not_kept(call, driver, fleet)
    return _write(call, "attach", driver, fleet)


def _not_kept(call: Call, driver: str, fleet: str) -> http_types.Answer:
    """Return the answer to an attach without carrying it out."""
    shown = objects.driver(call.state, driver, call.quirks)
    return objects.answer(shown | {"fleets": [*call.state.fleets_of(driver), fleet]})


def _detach(call: Call) -> http_types.Answer:
    driver, fleet = _membership(call)
    if fleet not in call.state.fleets_of(driver) and call.quirks.not_attached == "conflict":
        raise _conflict(call, "The driver is not attached to this fleet.")
    return _write(call, "detach", driver, fleet)


def _write(call: Call, action: state.Action, driver: str, fleet: str) -> http_types.Answer:
    call.state.apply(action, driver, fleet, key=call.request.key, at=state.stamp(call.now))
    return objects.answer(objects.driver(call.state, driver, call.quirks))


def _membership(call: Call) -> tuple[str, str]:
    """Return the driver and the fleet of a write. Raise Refused if either is missing or the key may not write."""
    if call.quirks.read_only:
        raise objects.Refused(objects.error(call.request, 403, None, "This key may not write."))
    driver, fleet = call.request.subject, _fleet_in(call)
    if driver not in call.state.drivers or call.fault == "not_found":
        raise _missing(call, "driver")
    if fleet not in call.state.fleets:
        raise _missing(call, "fleet")
    if call.fault == "refused":
        raise _blocked(call, "A policy does not allow this for the driver.")
    return driver, fleet


def _fleet_in(call: Call) -> str:
    fleet = _body_fleet(call.request)
    if fleet is None:
        raise _bad(call, "fleet", 'The body is {"fleet": "flt_…"}.')
    return fleet


def _body_fleet(request: http_types.Request) -> str | None:
    try:
        fleet = msgspec.json.decode(request.body)["fleet"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return fleet if isinstance(fleet, str) else None


def _admit(call: Call, kind: str, status: state.Status) -> bool:
    """Return whether an attach has an effect, given this status. Raise Refused if it is refused."""
    if status == "active":
        return True
    admission: quirks.Admission = getattr(call.quirks, f"{status}_{kind}")
    message = f"The {kind} is {status}."
    if admission == "conflict":
        raise _conflict(call, message)
    if admission == "policy_blocked":
        raise _blocked(call, message)
    return admission == "accept"


def _limit(call: Call) -> int:
    text = call.request.query.get("limit", str(DEFAULT_PAGE))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PAGE):
        raise _bad(call, "limit", f"limit is a whole number from 1 to {MAX_PAGE}.")
    return int(text)


def _exists(call: Call, kind: str, *, known: bool) -> bool:
    """Return whether the object that a list filters by exists. Raise Refused if not and the server is strict."""
    if not known and call.quirks.unknown_filter == "not_found":
        raise _missing(call, kind)
    return known


def _owner(call: Call, vehicle: str) -> str | None:
    # A vehicle's id is its driver's id reversed.
    driver = f"drv_{vehicle[:3:-1]}"
    return driver if _exists(call, "vehicle", known=driver in call.state.drivers) else None


def _common(ids: Sequence[str], wanted: Sequence[str]) -> Sequence[str]:
    return [id for id in ids if id in wanted]


def _missing(call: Call, kind: str) -> objects.Refused:
    combined = call.quirks.not_found == "combined" and call.request.route in http_types.WRITES
    code = "driver_or_fleet_not_found" if combined else f"{kind}_not_found"
    return objects.Refused(objects.error(call.request, 404, code, f"No such {kind}."))


def _conflict(call: Call, message: str) -> objects.Refused:
    return objects.Refused(objects.error(call.request, 409, "driver_fleet_conflict", message))


def _blocked(call: Call, message: str) -> objects.Refused:
    return objects.Refused(objects.error(call.request, 409, "policy_blocked", message))


def _bad(call: Call, param: str, message: str) -> objects.Refused:
    return objects.Refused(objects.error(call.request, 400, "parameter_invalid", message, param=param))


_HANDLERS: Final[dict[str, Callable[[Call], http_types.Answer]]] = {
    "drivers": _list_drivers,
    "driver": _driver,
    "fleets": _list_fleets,
    "fleet": _fleet,
    "attach": _attach,
    "detach": _detach,
}
