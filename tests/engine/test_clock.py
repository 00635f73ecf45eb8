"""A clock that differs from Charge's: what rests on the time is not done, and everything else is."""

import dataclasses
import datetime
from collections.abc import Callable

import anyio
import pytest

from tests.engine import accounts
from tests.support import clocks, doubles, harness
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C, D
from worker.core.model.identifiers import IntentKey, RunId
from worker.core.model.outcomes import Unknown
from worker.core.model.plan import Action, Change, GuardedPlan, HeldChange
from worker.core.model.ports import Intent
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard
from worker.sandbox import quirks

pytestmark = pytest.mark.anyio

MINUTE, HOUR, DAY = datetime.timedelta(minutes=1), datetime.timedelta(hours=1), datetime.timedelta(days=1)
ALWAYS = clocks.NOON - 4000 * DAY, clocks.NOON + 4000 * DAY
"""A row with these dates is active by every clock of these tests."""

ERRORS = [2 * DAY, 60 * DAY, 3650 * DAY, -DAY, 6 * MINUTE, -6 * MINUTE]
SILENT = dataclasses.replace(quirks.PLAUSIBLE, date_header=False)


def _rig(ahead: datetime.timedelta = datetime.timedelta(), **options: object) -> harness.Harness:
    account_harness = harness.Harness(accounts.account(), **options)  # type: ignore[arg-type]
    account_harness.wall.ahead = ahead
    return account_harness


async def _reconcile(
    account_harness: harness.Harness, *, approved: str | None = None, meanwhile: Callable[[], None] = lambda: None
) -> Report:
    """Run towards two attaches, of which D's is by a row with dates, and one detach; `meanwhile` follows the plan."""
    source = accounts.Dated(accounts.WANTED, D=ALWAYS)
    run = account_harness.new_reconciler(source, show=lambda plan_result: meanwhile())
    return await run.reconcile(trigger="test", approved=approved)


def _codes(finished: Report) -> set[str]:
    planned = finished.guarded.problems if finished.guarded else ()
    return {problem.code for problem in (*planned, *finished.problems) if not problem.note}


@pytest.mark.parametrize("ahead", ERRORS)
async def test_only_attaches_of_rows_without_dates_are_made(ahead: datetime.timedelta) -> None:
    account_harness = _rig(ahead)
    finished = await _reconcile(account_harness)
    assert (finished.exit_code, finished.result, _codes(finished)) == (4, RunResult.PARTIAL, {"clock_not_trusted"})
    assert account_harness.writes == [f"POST /drivers/{A}/attach"]
    account_harness.wall.ahead = datetime.timedelta()
    finished = await _reconcile(account_harness)
    assert finished.exit_code == 0
    assert account_harness.state.memberships() == accounts.AFTER


@pytest.mark.parametrize("ahead", [4 * MINUTE, -4 * MINUTE])
async def test_a_clock_within_five_minutes_is_trusted(ahead: datetime.timedelta) -> None:
    account_harness = _rig(ahead)
    finished = await _reconcile(account_harness)
    assert (finished.exit_code, _codes(finished)) == (0, set())
    assert account_harness.state.memberships() == accounts.AFTER


@pytest.mark.parametrize("skew", [2 * DAY, -DAY])
async def test_a_plan_says_so_too(skew: datetime.timedelta) -> None:
    """Whose clock is wrong makes no difference."""
    behaves = dataclasses.replace(quirks.PLAUSIBLE, date_skew_seconds=skew.total_seconds())
    plan_result = await _rig(quirks=behaves).new_plan_builder(accounts.Dated(accounts.WANTED, D=ALWAYS)).build()
    assert [change.driver for change in plan_result.guarded.changes] == [A]
    assert plan_result.guarded.unsettled
    assert [problem.code for problem in plan_result.guarded.problems] == ["clock_not_trusted", "journal_new"]
    assert plan_result.next_boundary is None


async def test_checking_the_references_says_so_too() -> None:
    plan, _ = await _rig(DAY).new_plan_builder(doubles.Source(accounts.WANTED)).plan_ignoring_start_dates()
    assert [problem.code for problem in plan.problems] == ["clock_not_trusted"]


async def test_an_inverse_plan_detaches_no_one() -> None:
    account_harness = _rig()
    finished = await _reconcile(account_harness)
    account_harness.wall.ahead = 60 * DAY
    undone = await account_harness.new_plan_builder().undo(finished.run, account_harness.memory)
    assert [(change.action, change.driver) for change in undone.guarded.changes] == [(Action.ATTACH, A)]
    assert undone.guarded.unsettled


async def test_the_age_of_a_saved_plan_is_that_by_charges_clock() -> None:
    account_harness = _rig()
    saved = (await account_harness.new_plan_builder(doubles.Source(accounts.WANTED)).build()).guarded
    account_harness.wall.ahead = -2 * DAY  # set back when two days have passed, so that the plan looks new
    skewed = dataclasses.replace(quirks.PLAUSIBLE, date_skew_seconds=(2 * DAY).total_seconds())
    account_harness.sandbox.quirks = skewed
    finished = await account_harness.new_reconciler().apply(saved, max_age=DAY)
    assert (finished.exit_code, account_harness.writes) == (1, [])
    assert finished.error is not None and "too old by Charge's clock" in str(finished.error)
    assert (await account_harness.new_reconciler().apply(saved, max_age=5 * DAY)).counts["applied"] == 2


# --- Without a stated time --------------------------------------------------------------------------------


async def test_without_a_stated_time_the_journal_tells_a_clock_that_was_set_back() -> None:
    account_harness = _rig(quirks=SILENT)
    await account_harness.reconcile({VANS: [A, B]})
    account_harness.wall.ahead = -DAY
    finished = await _reconcile(account_harness)
    assert (finished.exit_code, _codes(finished)) == (4, {"clock_not_trusted"})
    assert account_harness.writes == [f"POST /drivers/{A}/attach"]
    finished = await _reconcile(account_harness)
    assert finished.exit_code == 4  # its own entries do not excuse it
    account_harness.wall.ahead = datetime.timedelta()
    assert (await _reconcile(account_harness)).exit_code == 0


async def test_without_a_stated_time_a_clock_that_is_right_is_trusted() -> None:
    account_harness = _rig(quirks=SILENT)
    for _ in range(2):
        assert (await _reconcile(account_harness)).exit_code == 0


# --- What a wrong clock must not end, use, or forget ------------------------------------------------------


async def test_no_grace_period_ends_and_none_begins() -> None:
    account_harness = _rig(grace=HOUR)
    less = {VANS: [B]}
    assert (await account_harness.reconcile(less)).exit_code == 0
    absences = await account_harness.memory.absences()
    account_harness.wall.ahead = 2 * DAY
    assert (await account_harness.reconcile({VANS: []})).exit_code == 4
    assert (await account_harness.memory.absences(), account_harness.writes) == (absences, [])
    assert (await account_harness.reconcile({VANS: [A, B]})).exit_code == 4
    assert await account_harness.memory.absences() == absences


@pytest.mark.parametrize("recorded", [False, True])
async def test_no_approval_is_used(recorded: bool) -> None:
    account_harness = _rig(limits=guard.Limits())
    held = await account_harness.reconcile({VANS: []})
    assert held.held_digest
    if recorded:
        await account_harness.memory.approve(held.held_digest, now=clocks.NOON, until=clocks.NOON + DAY)
    account_harness.wall.ahead = 6 * MINUTE
    digest = None if recorded else held.held_digest
    source = doubles.Source({VANS: []})
    finished = await account_harness.new_reconciler(source).reconcile(trigger="test", approved=digest)
    assert (finished.exit_code, account_harness.writes) == (4, [])
    account_harness.wall.ahead = datetime.timedelta()
    finished = await account_harness.new_reconciler(source).reconcile(trigger="test", approved=digest)
    assert (finished.exit_code, finished.counts["applied"]) == (0, 2)


async def test_no_approval_frees_an_attach() -> None:
    limits = dataclasses.replace(harness.LENIENT, max_attach_fraction_per_fleet=0.0)
    people = harness.state_of({VANS: [A]}, others=[harness.driver_id(letter) for letter in "EFGHIJKLMNOPQRSTUVXYabc"])
    account_harness = harness.Harness(people, limits=limits)
    wanted = {VANS: sorted(people.drivers)}
    held = await account_harness.reconcile(wanted)
    assert (held.exit_code, len(account_harness.writes)) == (3, 0)
    account_harness.wall.ahead = DAY
    finished = await account_harness.reconcile(wanted, approved=held.held_digest)
    assert (finished.exit_code, account_harness.writes) == (4, [])


async def test_no_run_is_deleted() -> None:
    account_harness = _rig(keep=30 * DAY)
    first = await account_harness.reconcile({VANS: [A, B]})
    account_harness.wall.ahead = 3650 * DAY
    await _reconcile(account_harness)
    assert first.run in {past.run for past in await account_harness.memory.runs()}
    await anyio.sleep(1)
    broken = await account_harness.new_reconciler(doubles.BrokenSource()).reconcile(trigger="test")
    assert broken.exit_code == 1  # Charge was not even asked
    assert first.run in {past.run for past in await account_harness.memory.runs()}


async def test_no_unclear_write_is_taken_for_not_made() -> None:
    account_harness = _rig()
    change = Change(Action.ATTACH, A, DEPOT)
    journal, key = account_harness.memory, IntentKey("key-of-old")
    await journal.open()
    await journal.begin(
        RunId("run_old"),
        trigger="test",
        guarded=doubles.guarded([change]),
        intents=[Intent(key, change)],
    )
    await journal.record([(key, Unknown(1, "timeout", "no reply"))])
    account_harness.wall.ahead = HOUR
    await account_harness.reconcile({VANS: [A, B]})
    assert isinstance(journal.outcomes[key], Unknown)
    account_harness.wall.ahead = datetime.timedelta()


async def test_an_unclear_write_of_a_clock_that_was_ahead_ends_after_the_clock_is_right() -> None:
    """It would have been unclear for ten years: its last attempt was still to come."""
    account_harness = _rig(3650 * DAY)
    journal, key = account_harness.memory, IntentKey("key-of-an-earlier-run")
    await account_harness.reconcile({VANS: [A, B]})
    await journal.add_intents(RunId("run_1"), [Intent(key, Change(Action.ATTACH, D, VANS))])
    await journal.record([(key, Unknown(1, "timeout", "no reply"))])
    account_harness.wall.ahead = datetime.timedelta()
    assert (await account_harness.reconcile({VANS: [A, B]})).exit_code == 4
    assert isinstance(journal.outcomes[key], Unknown)
    await anyio.sleep(121)
    assert (await account_harness.reconcile({VANS: [A, B]})).exit_code == 0


async def test_an_unclear_write_is_not_taken_for_an_older_one_by_a_clock_that_is_behind() -> None:
    account_harness = _rig()
    journal, key = account_harness.memory, IntentKey("key-of-an-earlier-run")
    await account_harness.reconcile({VANS: [A, B]})
    await journal.add_intents(RunId("run_1"), [Intent(key, Change(Action.ATTACH, D, VANS))])
    await journal.record([(key, Unknown(1, "timeout", "no reply"))])
    for behind in (DAY, datetime.timedelta()):
        account_harness.wall.ahead = -behind
        await account_harness.reconcile({VANS: [A, B]})
        assert isinstance(journal.outcomes[key], Unknown)


async def test_a_refusal_by_a_clock_that_was_ahead_delays_nothing_once_the_clock_is_right() -> None:
    account_harness = _rig(3650 * DAY)
    account_harness.state.change_fleet(VANS, status="archived")
    await account_harness.reconcile({VANS: [A, B, D]})
    account_harness.state.change_fleet(VANS, status="active")
    account_harness.wall.ahead = datetime.timedelta()
    assert (await account_harness.reconcile({VANS: [A, B, D]})).exit_code == 0


async def test_a_reference_that_moved_is_not_learned() -> None:
    """The detach that the guard would hold is not in the plan, so nothing would be left to approve."""
    account_harness = _rig()
    drivers = account_harness.state.drivers
    address = drivers[A].email
    wanted = {VANS: [address, B]}
    await account_harness.reconcile(wanted)
    before = await account_harness.memory.resolutions()
    assert before[address] == A
    drivers[A] = dataclasses.replace(drivers[A], email="")
    drivers[C] = dataclasses.replace(drivers[C], email=address)
    account_harness.state.attach(C, VANS)
    account_harness.wall.ahead = 2 * DAY
    await account_harness.reconcile(wanted)
    assert await account_harness.memory.resolutions() == before
    account_harness.wall.ahead = datetime.timedelta()
    finished = await account_harness.reconcile(wanted)
    assert finished.guarded is not None
    assert {each.guard for each in finished.guarded.held} == {guard.REFERENCE_MOVED}


async def test_a_reference_of_a_row_with_dates_that_moved_holds_the_rows_without() -> None:
    """The row waits for a clock that is trusted; that its reference leads elsewhere is known already."""
    account_harness = _rig()
    drivers = account_harness.state.drivers
    address = drivers[A].email
    source = accounts.Dated({VANS: [address, B], NORTH: [D]}, **{address: ALWAYS})
    await account_harness.new_reconciler(source).reconcile(trigger="test")
    drivers[A] = dataclasses.replace(drivers[A], email="")
    drivers[C] = dataclasses.replace(drivers[C], email=address)
    account_harness.wall.ahead = 2 * DAY
    source = accounts.Dated({VANS: [address, B], NORTH: [A, C, D]}, **{address: ALWAYS})
    finished = await account_harness.new_reconciler(source).reconcile(trigger="test")
    assert finished.guarded is not None
    held = {(each.change.driver, each.guard) for each in finished.guarded.held}
    assert held == {(A, guard.REFERENCE_MOVED), (C, guard.REFERENCE_MOVED)}


async def test_the_limits_count_what_was_done_by_the_right_time() -> None:
    others = [harness.driver_id(letter) for letter in "EFGHIJKLMNOPQRSTUVXYabcdefghijklmnopqrst"]
    limits = dataclasses.replace(harness.LENIENT, max_attach_fraction_per_fleet=0.5)
    account_harness = harness.Harness(harness.state_of({VANS: [A]}, others=others), limits=limits)
    assert (await account_harness.reconcile({VANS: [A, *others[:20]]})).counts["applied"] == 20
    account_harness.wall.ahead = 2 * DAY
    finished = await account_harness.reconcile({VANS: [A, *others]})
    assert finished.counts["applied"] == 0
    assert finished.guarded is not None and len(finished.guarded.held) == len(others) - 20


# --- A clock that is set during a run ---------------------------------------------------------------------


@pytest.mark.parametrize("behaves", [quirks.PLAUSIBLE, SILENT])
@pytest.mark.parametrize("ahead", [60 * DAY, -DAY])
async def test_what_is_left_of_a_run_whose_clock_is_set_is_not_done(
    ahead: datetime.timedelta, behaves: quirks.Quirks
) -> None:
    account_harness = _rig(quirks=behaves, keep=30 * DAY)
    first = await account_harness.reconcile({VANS: [A, B]})
    finished = await _reconcile(account_harness, meanwhile=lambda: setattr(account_harness.wall, "ahead", ahead))
    assert (finished.exit_code, _codes(finished)) == (4, {"clock_not_trusted"})
    assert account_harness.writes == [f"POST /drivers/{A}/attach"]
    not_made = {
        (each.change.driver, each.change.action, each.outcome.name) for each in finished.results if not each.done
    }
    assert not_made == {(A, Action.DETACH, "deferred"), (D, Action.ATTACH, "deferred")}
    assert first.run in {past.run for past in await account_harness.memory.runs()}


# --- Saved plans ------------------------------------------------------------------------------------------


async def _saved(account_harness: harness.Harness) -> GuardedPlan:
    return (await account_harness.new_plan_builder(accounts.Dated(accounts.WANTED, D=ALWAYS)).build()).guarded


async def test_a_saved_plan_knows_which_attaches_rest_on_dates() -> None:
    assert {change.driver for change in (await _saved(_rig())).dated} == {D}


@pytest.mark.parametrize("ahead", ERRORS)
async def test_of_a_saved_plan_only_attaches_without_dates_are_made(ahead: datetime.timedelta) -> None:
    account_harness = _rig()
    saved = await _saved(account_harness)
    account_harness.wall.ahead = ahead
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, _codes(finished)) == (4, {"clock_not_trusted"})
    assert account_harness.writes == [f"POST /drivers/{A}/attach"]
    assert (finished.counts["deferred"], finished.counts["applied"]) == (2, 1)
    assert {change.driver for change in account_harness.memory.intents.values()} == {A}
    assert not account_harness.requests(f"/drivers/{D}")


async def test_a_saved_plan_that_can_be_done_whole_still_says_so() -> None:
    account_harness = _rig()
    saved = (await account_harness.new_plan_builder(doubles.Source({NORTH: [A, B]})).build()).guarded
    account_harness.wall.ahead = DAY
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, finished.counts["applied"], _codes(finished)) == (4, 1, {"clock_not_trusted"})


async def test_an_approved_attach_of_a_saved_plan_waits() -> None:
    account_harness = _rig()
    saved = (await account_harness.new_plan_builder(doubles.Source({NORTH: [A, B]})).build()).guarded
    holds = tuple(HeldChange(change, guard.FLAPPING, "again and again") for change in saved.changes)
    approved = dataclasses.replace(saved, approved=holds, approval="sha256:1")
    account_harness.wall.ahead = DAY
    finished = await account_harness.new_reconciler().apply(approved)
    assert finished.guarded is not None
    assert (finished.guarded.held, account_harness.writes) == (holds, [])
