"""Accounts of many drivers or fleets, and faults that strike some of their listings."""

from collections.abc import Callable

from tests.support import rig as rigs
from worker.core import values
from worker.sandbox import faults, messages, roster

DRIVERS = [values.DriverId(f"drv_{number:032d}") for number in range(60)]


def listed(rig: rigs.Rig) -> list[str]:
    """Give the listings of drivers, by their fleet, page by page."""
    return [request.query.get("fleet", "all") for request in rig.sandbox.requests if request.path == "/v1/drivers"]


def retrieved(rig: rigs.Rig) -> list[str]:
    return [line.rpartition("/")[2] for line in rig.requests("GET /drivers/")]


def fault_where(name: str, fits: Callable[[messages.Request], bool], *, times: int = 10**6) -> faults.Faults:
    """Make a fault that strikes so many of the requests that fit."""
    left = [times]

    def script(request: messages.Request) -> str | None:
        if left[0] and fits(request):
            left[0] -= 1
            return name
        return None

    return faults.Faults(script=script)


def beside_a_crowd(held: roster.Roster) -> roster.Roster:
    """Add so many drivers in another fleet that nobody lists them all without need."""
    crowd = held.add_fleet(name="Crowd")
    for number in range(1000):
        held.add_driver(email=f"c{number}@example.com", fleets=[crowd])
    return held


def page(fleet: str | None, *, later: bool | None = None) -> Callable[[messages.Request], bool]:
    """Tell pages of one listing of drivers, all of them, or just the first or the later ones."""

    def fits(request: messages.Request) -> bool:
        first = "page" not in request.query
        return request.route == "drivers" and request.query.get("fleet") == fleet and later in (None, not first)

    return fits


def ten_fleets() -> tuple[roster.Roster, list[values.FleetId]]:
    fleets = [rigs.fleet_id(letter) for letter in "ABCDEFGHIJ"]
    return rigs.roster_of({fleet: DRIVERS[3 * n : 3 * n + 3] for n, fleet in enumerate(fleets)}), fleets
