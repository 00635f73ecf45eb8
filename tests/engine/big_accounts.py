"""Accounts of many drivers or fleets, and faults that strike some of their listings."""

from collections.abc import Callable

from tests.support import harness
from worker.core.model.identifiers import DriverId, FleetId
from worker.sandbox import faults, http_types, state

DRIVERS = [DriverId(f"drv_{number:032d}") for number in range(60)]


def listed(account_harness: harness.Harness) -> list[str]:
    """Return the listings of drivers, by their fleet, page by page."""
    return [
        request.query.get("fleet", "all")
        for request in account_harness.sandbox.requests
        if request.path == "/v1/drivers"
    ]


def retrieved(account_harness: harness.Harness) -> list[str]:
    return [line.rpartition("/")[2] for line in account_harness.requests("GET /drivers/")]


def fault_where(name: str, fits: Callable[[http_types.Request], bool], *, times: int = 10**6) -> faults.Faults:
    """Make a fault that strikes so many of the requests that fit."""
    left = [times]

    def script(request: http_types.Request) -> str | None:
        if left[0] and fits(request):
            left[0] -= 1
            return name
        return None

    return faults.Faults(script=script)


def beside_a_crowd(held: state.SandboxState) -> state.SandboxState:
    """Add so many drivers in another fleet that nobody lists them all without need."""
    crowd = held.add_fleet(name="Crowd")
    for number in range(1000):
        held.add_driver(email=f"c{number}@example.com", fleets=[crowd])
    return held


def page(fleet: str | None, *, later: bool | None = None) -> Callable[[http_types.Request], bool]:
    """Return what recognizes the pages of one listing of drivers: all, or only the first or the later ones."""

    def fits(request: http_types.Request) -> bool:
        first = "page" not in request.query
        return request.route == "drivers" and request.query.get("fleet") == fleet and later in (None, not first)

    return fits


def ten_fleets() -> tuple[state.SandboxState, list[FleetId]]:
    fleets = [harness.fleet_id(letter) for letter in "ABCDEFGHIJ"]
    return harness.state_of({fleet: DRIVERS[3 * n : 3 * n + 3] for n, fleet in enumerate(fleets)}), fleets
