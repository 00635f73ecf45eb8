"""Ignored drivers in whole runs: nothing is sent for them, by any command that plans."""

import dataclasses

import pytest

from tests.support import doubles, harness
from tests.support.harness import DEPOT, VANS, A, B, C
from worker.core.model.desired import DriverByEmail, DriverById, DriverRef
from worker.core.model.identifiers import DriverId
from worker.core.model.ports import Source
from worker.core.model.report import Report
from worker.engine import wiring

pytestmark = pytest.mark.anyio


class Account:
    """An account in which A and B are to move from one fleet to another."""

    def __init__(self) -> None:
        self.harness = harness.Harness(harness.state_of({VANS: [A, B], DEPOT: [C]}))
        self.wanted: list[Source] = [doubles.Source({VANS: [], DEPOT: [A, B, C]})]

    async def run(self, *ignored: DriverRef) -> Report:
        rules = dataclasses.replace(self.harness.rules, ignored=frozenset(ignored))
        return await wiring.new_reconciler(self.harness.context(), rules=rules, sources=self.wanted).reconcile(
            trigger="test"
        )

    def email(self, driver: str) -> DriverByEmail:
        return DriverByEmail(self.harness.state.drivers[driver].email.lower())


async def test_an_ignored_driver_stays_where_they_are() -> None:
    account = Account()
    assert (await account.run(DriverById(A))).exit_code == 0
    assert account.harness.fleets_of(A) == {VANS}
    assert account.harness.fleets_of(B) == {DEPOT}


async def test_an_id_with_a_mistake_is_told_to_the_operator() -> None:
    """Whoever it should have named is not ignored."""
    finished = await Account().run(DriverById(DriverId(f"drv_{'X' * 32}")))
    assert finished.exit_code == 4
    assert finished.guarded is not None
    assert [(each.where, each.code) for each in finished.guarded.problems if not each.note] == [
        ("guard.ignore_drivers", "unresolved_driver")
    ]


async def test_an_address_is_looked_up_even_if_no_row_has_one() -> None:
    account = Account()
    assert (await account.run(account.email(A))).exit_code == 0
    assert account.harness.fleets_of(A) == {VANS}
    assert account.harness.fleets_of(B) == {DEPOT}


async def test_a_driver_whose_address_changed_is_still_ignored() -> None:
    account = Account()
    email, wanted = account.email(A), account.wanted
    account.wanted = [doubles.Source({VANS: [A, B], DEPOT: [C]})]
    assert (await account.run(email)).exit_code == 0
    record = account.harness.state.drivers[A]
    account.harness.state.drivers[A] = dataclasses.replace(record, email="new@example.com")
    account.wanted = wanted
    finished = await account.run(email)
    assert finished.exit_code == 4
    assert account.harness.fleets_of(A) == {VANS}
    assert account.harness.fleets_of(B) == {VANS, DEPOT}


async def test_an_undo_leaves_an_ignored_driver_out() -> None:
    account = Account()
    moved = await account.run()
    rules = dataclasses.replace(account.harness.rules, ignored=frozenset({DriverById(A)}))
    builder = wiring.new_plan_builder(account.harness.context(), rules=rules, sources=[])
    undone = await builder.undo(moved.run, account.harness.memory)
    assert {change.driver for change in undone.guarded.changes} == {B}
