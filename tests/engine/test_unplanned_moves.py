"""A reference that moves while a setting keeps its changes out of the plan: they are held once they are planned."""

import dataclasses

import pytest

from tests.support import harness
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C, D
from worker.core.model.desired import DriverByEmail, DriverById, DriverRef, Mode
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard
from worker.engine import plan_builder

pytestmark = pytest.mark.anyio

SAM = "sam@example.com"
WANTED: harness.Wanted = {VANS: [SAM, C], DEPOT: [C]}


class _Account(harness.Harness):
    """SAM, which is A's address, and B are in a fleet; then SAM becomes B's address, and the document leaves B out."""

    def __init__(self, *, mode: Mode = Mode.EXACT) -> None:
        super().__init__(harness.state_of({VANS: [A, B, C], DEPOT: [C]}), mode=mode)
        self.state.change_driver(A, email=SAM)
        self.ignored: frozenset[DriverRef] = frozenset()

    @property
    def rules(self) -> plan_builder.Rules:
        return dataclasses.replace(super().rules, ignored=self.ignored)

    async def move(self) -> None:
        """Run, move the address, and run again."""
        assert (await self.reconcile({VANS: [SAM, B, C], DEPOT: [C]})).result is RunResult.IN_SYNC
        self.state.change_driver(A, email="old@example.com")
        self.state.change_driver(B, email=SAM)
        assert (await self.reconcile(WANTED)).result is RunResult.IN_SYNC


def _held(finished: Report) -> set[tuple[str, str]]:
    assert finished.guarded is not None
    return {(each.change.driver, each.guard) for each in finished.guarded.held}


async def test_an_address_that_moved_while_its_driver_was_ignored_is_held_when_the_driver_no_longer_is() -> None:
    account = _Account()
    account.ignored = frozenset({DriverById(A)})
    await account.move()
    account.ignored = frozenset()
    finished = await account.reconcile(WANTED)
    assert _held(finished) == {(A, guard.REFERENCE_MOVED)}
    assert account.fleets_of(A) == {VANS}
    assert (await account.reconcile(WANTED, approved=finished.held_digest)).result is RunResult.CONVERGED
    assert account.fleets_of(A) == frozenset()


async def test_an_address_that_moved_in_additive_mode_is_held_in_exact_mode() -> None:
    account = _Account(mode=Mode.ADDITIVE)
    await account.move()
    account.mode = Mode.EXACT
    assert _held(await account.reconcile(WANTED)) == {(A, guard.REFERENCE_MOVED)}
    assert account.fleets_of(A) == {VANS}


async def test_an_entry_of_ignored_drivers_that_moved_in_additive_mode_is_held_in_exact_mode() -> None:
    account = _Account(mode=Mode.ADDITIVE)
    account.ignored = frozenset({DriverByEmail(SAM)})
    wanted: harness.Wanted = {VANS: [B, C], DEPOT: [C]}
    await account.reconcile(wanted)
    account.state.change_driver(A, email="old@example.com")
    account.state.change_driver(C, email=SAM)
    await account.reconcile(wanted)
    account.mode = Mode.EXACT
    assert _held(await account.reconcile(wanted)) == {(A, guard.REFERENCE_MOVED)}


async def test_a_name_that_moved_in_additive_mode_is_held_in_exact_mode_and_approved_once_in_additive_mode() -> None:
    """In additive mode the other members stay for good: without an end, each change would need an approval."""
    account = harness.Harness(harness.state_of({VANS: [A], DEPOT: [D], NORTH: [D, B]}, others=[C]), mode=Mode.ADDITIVE)
    wanted: harness.Wanted = {VANS: [A], "Fleet W": [D]}
    await account.reconcile(wanted)
    account.state.change_fleet(DEPOT, name="Archive")
    account.state.change_fleet(NORTH, name="Fleet W")
    await account.reconcile(wanted)
    account.mode = Mode.EXACT
    assert _held(await account.reconcile(wanted)) == {(B, guard.REFERENCE_MOVED)}

    account.mode = Mode.ADDITIVE
    wanted = {VANS: [A], "Fleet W": [D, C]}
    finished = await account.reconcile(wanted)
    assert _held(finished) == {(C, guard.REFERENCE_MOVED)}
    await account.reconcile(wanted, approved=finished.held_digest)
    assert _held(await account.reconcile({VANS: [A], "Fleet W": [D, C, A]})) == set()
    assert account.fleets_of(A) == {VANS, NORTH}


async def test_an_address_that_moved_while_a_fleet_was_missing_in_the_sources_is_held_when_it_is_back() -> None:
    """A document that was cut short between two fleets plans nothing in the second."""
    account = _Account()
    account.state.attach(A, DEPOT)
    account.state.attach(B, DEPOT)
    everyone = [SAM, A, B, C]
    await account.reconcile({DEPOT: everyone, VANS: [SAM, B, C]})
    account.state.change_driver(A, email="old@example.com")
    account.state.change_driver(B, email=SAM)
    assert (await account.reconcile({DEPOT: everyone})).result is RunResult.PARTIAL
    finished = await account.reconcile({DEPOT: everyone, VANS: [SAM, C]})
    assert _held(finished) == {(A, guard.REFERENCE_MOVED)}
