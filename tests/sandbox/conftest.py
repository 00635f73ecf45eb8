"""A small account for the tests of the sandbox."""

import dataclasses

import pytest

from worker.sandbox import app, state

SandboxState = state.SandboxState


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """One driver in one of two fleets."""

    state: SandboxState
    sandbox: app.Sandbox
    vans: str
    depot: str
    alice: str


@pytest.fixture
def account() -> Account:
    """Return a sandbox with the fleets `vans` and `depot`, and `alice` in `vans`."""
    held = state.SandboxState()
    vans, depot = held.add_fleet(name="Paris vans"), held.add_fleet(name="Lyon depot")
    alice = held.add_driver(email="alice@example.com", name="Alice", metadata={"employee_id": "10042"}, fleets=[vans])
    return Account(held, app.Sandbox(held), vans, depot, alice)
