"""An account whose forty drivers all move: from one fleet to another.

Neighbours: `accounts` has one of a few changes, `big_accounts` ones of many pages.
"""

from tests.support import harness
from worker.core.model.identifiers import DriverId
from worker.sandbox import state

VANS, DEPOT = harness.fleet_id("V"), harness.fleet_id("W")
DRIVERS = [DriverId(f"drv_{number:032d}") for number in range(40)]

WANTED = {VANS: [], DEPOT: DRIVERS}
"""Everybody moves: forty attaches, forty detaches."""


def account() -> state.SandboxState:
    """Return forty drivers, who are all in one fleet."""
    return harness.state_of({VANS: DRIVERS, DEPOT: []})


def all_back(account_harness: harness.Harness) -> None:
    """Undo everything by hand."""
    for driver in DRIVERS:
        account_harness.state.detach(driver, DEPOT)
        account_harness.state.attach(driver, VANS)
