"""A source that loses rows, over several runs, with the journal in between."""

import dataclasses
from collections.abc import Iterable, Mapping

import anyio
import pytest

from tests.support import doubles, harness
from tests.support.harness import DEPOT, NORTH, VANS
from worker.core.model.desired import FleetById, SourceReading
from worker.core.model.identifiers import DriverId
from worker.core.model.pauses import Pause
from worker.core.model.report import Report
from worker.core.safety import guard

pytestmark = pytest.mark.anyio

DRIVERS = [DriverId(f"drv_{number:032d}") for number in range(40)]
HOUR = 3600
LENIENT = guard.Limits(max_detach_fraction_per_fleet=1.0, max_detach_fraction=1.0, allow_emptying_fleets=True)


class Source(doubles.Source):
    """A source with a name of its own, which counts its rows."""

    def __init__(self, wanted: Mapping[str, Iterable[str]], name: str = "hr") -> None:
        super().__init__(wanted)
        self._name = name

    async def read(self) -> SourceReading:
        """Return the whole reading."""
        reading = await super().read()
        source = dataclasses.replace(reading.source, name=self._name, rows=len(reading.rows))
        return dataclasses.replace(reading, source=source)


class Account:
    """An account whose fleets have 20 members each."""

    def __init__(self) -> None:
        members = {VANS: DRIVERS[:20], DEPOT: DRIVERS[20:], NORTH: DRIVERS[:20]}
        self.harness = harness.Harness(harness.state_of(members), limits=LENIENT)

    async def run(self, *sources: Source, approved: str | None = None) -> Report:
        return await self.harness.new_reconciler(*sources).reconcile(trigger="once", approved=approved)

    def sizes(self) -> list[int]:
        return [len(self.harness.state.members(fleet)) for fleet in (VANS, DEPOT, NORTH)]


async def test_a_source_that_was_cut_detaches_no_one_until_it_is_whole_again() -> None:
    account = Account()
    whole = Source({VANS: DRIVERS[:20], DEPOT: DRIVERS[20:]})
    assert (await account.run(whole)).exit_code == 0
    cut = await account.run(Source({VANS: DRIVERS[:20], DEPOT: DRIVERS[20:30]}))
    assert (cut.result, cut.exit_code) == ("held", 3)
    assert cut.guarded is not None
    assert {each.guard for each in cut.guarded.held} == {guard.SOURCE_SHRANK}
    assert len(cut.guarded.held) == 10
    assert (await account.run(whole)).result == "in_sync"
    assert account.sizes() == [20, 20, 20]


async def test_a_fleet_behind_the_cut_is_protected_where_another_source_names_it() -> None:
    """The rows for the depot are gone, and with them its only mention in this source."""
    account = Account()
    other = Source({DEPOT: DRIVERS[30:]}, "guests")
    await account.run(Source({VANS: DRIVERS[:20], DEPOT: DRIVERS[20:30]}), other)
    cut = await account.run(Source({VANS: DRIVERS[:20]}), other)
    assert cut.guarded is not None
    assert {(each.guard, each.change.fleet) for each in cut.guarded.held} == {(guard.SOURCE_SHRANK, DEPOT)}
    assert account.sizes() == [20, 20, 20]


async def test_fleets_of_other_sources_go_on() -> None:
    account = Account()
    north = Source({NORTH: DRIVERS[:20]}, "north")
    await account.run(Source({VANS: DRIVERS[:20]}), north)
    cut = await account.run(Source({VANS: DRIVERS[:10]}), Source({NORTH: DRIVERS[1:20]}, "north"))
    assert cut.exit_code == 3
    assert account.sizes() == [20, 20, 19]


async def test_an_approval_allows_the_detaches_and_lowers_the_baseline_once() -> None:
    account = Account()
    half = Source({VANS: DRIVERS[:10]})
    await account.run(Source({VANS: DRIVERS[:20]}))
    held = await account.run(half)
    approved = await account.run(half, approved=held.held_digest)
    assert (approved.result, account.sizes()[0]) == ("converged", 10)
    assert (await account.run(half)).result == "in_sync"
    again = await account.run(Source({VANS: DRIVERS[:5]}), approved=held.held_digest)
    assert (again.exit_code, account.sizes()[0]) == (3, 10)


async def test_an_approval_without_any_change_lowers_the_baseline_and_is_used_up() -> None:
    """Drivers who are no members leave the source: nothing to detach, and yet half of the source is gone."""
    account = Account()
    memory, now = account.harness.memory, account.harness.wall.now()
    await account.run(Source({VANS: DRIVERS[:20], DEPOT: DRIVERS[20:]}))
    for driver in DRIVERS[10:20]:
        account.harness.state.detach(driver, VANS)
    half = Source({VANS: DRIVERS[:10], DEPOT: DRIVERS[20:]})
    held = await account.run(half)
    assert held.guarded is not None
    assert (held.result, held.exit_code, held.guarded.held) == ("held", 3, ())
    digest = held.held_digest
    await memory.approve(digest, now=now, until=now.replace(year=now.year + 1))
    assert (await account.run(half)).result == "in_sync"
    assert await memory.approvals(now=account.harness.wall.now()) == frozenset()
    assert (await account.run(half)).result == "in_sync"


async def test_a_plan_neither_lowers_the_baseline_nor_remembers_anything() -> None:
    account = Account()
    await account.run(Source({VANS: DRIVERS[:20]}))
    half = Source({VANS: DRIVERS[:10]})
    digest = (await account.run(half)).held_digest
    planned = await account.harness.new_plan_builder(half).build(approved=digest)
    assert (len(planned.guarded.changes), planned.guarded.shrunk) == (10, ())
    assert (await account.run(half)).exit_code == 3


async def test_runs_that_were_held_for_days_do_not_lower_the_baseline() -> None:
    account = Account()
    await account.run(Source({VANS: DRIVERS[:20]}))
    for _ in range(3):
        await anyio.sleep(30 * HOUR)
        assert (await account.run(Source({VANS: DRIVERS[:10]}))).exit_code == 3
    assert account.sizes()[0] == 20


async def test_a_pause_keeps_the_approval_of_a_source_for_the_run_after_it() -> None:
    """It would be used up, and the detaches that it allowed held again by the limits of the guard."""
    account = Account()
    account.harness.limits = guard.Limits()
    memory, now = account.harness.memory, account.harness.wall.now()
    await account.run(Source({VANS: DRIVERS[:20]}))
    half = Source({VANS: DRIVERS[:10]})
    digest = (await account.run(half)).held_digest
    await memory.pause(Pause(now))
    await memory.approve(digest, now=now, until=now.replace(year=now.year + 1))
    assert (await account.run(half)).result == "paused"
    assert await memory.approvals(now=account.harness.wall.now()) == {digest}
    await memory.resume(now=account.harness.wall.now(), by="Emma")
    assert ((await account.run(half)).result, account.sizes()[0]) == ("converged", 10)
    assert await memory.approvals(now=account.harness.wall.now()) == frozenset()


async def test_a_run_of_some_fleets_accepts_no_source_that_was_cut() -> None:
    """The detaches of the other fleets would be held again by the limits of the guard."""
    account = Account()
    account.harness.limits = guard.Limits()
    memory, now = account.harness.memory, account.harness.wall.now()
    await account.run(Source({VANS: DRIVERS[:20], DEPOT: DRIVERS[20:]}))
    half = Source({VANS: DRIVERS[:10], DEPOT: DRIVERS[20:30]})
    digest = (await account.run(half)).held_digest
    await memory.approve(digest, now=now, until=now.replace(year=now.year + 1))
    account.harness.only = frozenset({FleetById(VANS)})
    assert ((await account.run(half)).result, account.sizes()) == ("held", [20, 20, 20])
    assert ((await account.run(half, approved=digest)).result, account.sizes()) == ("held", [20, 20, 20])
    assert await memory.approvals(now=account.harness.wall.now()) == {digest}
    account.harness.only = frozenset()
    assert ((await account.run(half)).result, account.sizes()) == ("converged", [10, 10, 20])
