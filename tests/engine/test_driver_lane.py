"""What one driver's changes amount to: their outcomes once a reading is newer, and what is reported beside them."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.engine.applying import account, attach, detach
from tests.support import doubles, harness, memory_journal
from tests.support.harness import DEPOT, NORTH, VANS, A
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import FleetId, IntentKey, RunId
from worker.core.model.outcomes import Already, Applied, Deferred, Outcome, Refused, Stale, Unknown
from worker.core.model.plan import Change, ConcernedDriver
from worker.core.model.ports import Intent
from worker.core.safety import driver_state
from worker.engine import driver_lane, membership_writer, outcome_writer, pause_watch, run_context, source_watch

pytestmark = pytest.mark.anyio


def _writer(context: Any, **statuses: str) -> membership_writer.MembershipWriter:
    sources, pauses = source_watch.SourceWatch((), clock=context.clock), pause_watch.PauseWatch(context)
    return membership_writer.MembershipWriter(context, sources, statuses, {A: "Ann"}, pauses, dated=())


def _lane(
    *changes: tuple[Change, Outcome | None],
    seen: set[FleetId],
    wanted: set[FleetId],
    sent: int = 1,
    enforced: frozenset[FleetId] = frozenset(),
) -> driver_lane.DriverLane:
    """Return the lane of a driver whose changes were sent so often, and ended with these outcomes."""
    context = harness.Harness(account()).context()
    outcomes = outcome_writer.OutcomeWriter(journal=context.journal, run_cancellation=context.cancellation)
    state = driver_state.DriverState(ConcernedDriver(frozenset(seen), frozenset(wanted)), enforced=enforced)
    pending = [
        membership_writer.PendingWrite(Intent(IntentKey(f"key-{number}"), change), outcome=outcome)
        for number, (change, outcome) in enumerate(changes)
    ]
    for each in pending:
        each.attempts.count = sent
    return driver_lane.DriverLane(context, _writer(context), outcomes, driver=A, pending=pending, state=state)


async def test_attaches_come_first_whatever_the_order_of_the_plan() -> None:
    lane = _lane((detach(A, VANS), None), (attach(A, DEPOT), None), seen={VANS}, wanted={DEPOT})
    assert [each.intent.change for each in lane.pending] == [attach(A, DEPOT), detach(A, VANS)]


async def test_a_driver_was_written_once_any_request_was_sent() -> None:
    lane = _lane((detach(A, VANS), None), (attach(A, DEPOT), None), seen={VANS}, wanted={DEPOT}, sent=0)
    assert not lane.was_written
    lane.pending[1].attempts.count = 1
    assert lane.was_written


@pytest.mark.parametrize(
    ("outcome", "shown", "agrees"),
    [
        (Applied(1), {DEPOT}, True),
        (Already(1), {DEPOT, NORTH}, True),
        (Applied(1), {VANS, DEPOT}, False),
        (Applied(1), {NORTH}, False),
        (Refused(1, "no", "no"), {VANS, DEPOT}, True),
        (Unknown(1, "timeout", "reset"), {DEPOT}, False),
    ],
)
async def test_a_reading_agrees_if_it_shows_what_was_accepted_and_all_that_is_wanted(
    outcome: Outcome, shown: set[FleetId], agrees: bool
) -> None:
    lane = _lane((detach(A, VANS), outcome), seen={VANS}, wanted={DEPOT})
    assert lane.agrees_with(frozenset(shown)) is agrees
    lane.state.mark_written()
    assert not lane.is_contradicted, "nothing is newer than the write"
    lane.state.add_reply(frozenset(shown))
    assert lane.is_contradicted is not agrees


async def test_results_are_those_that_have_an_outcome_repairs_included() -> None:
    lane = _lane((detach(A, VANS), None), (attach(A, DEPOT), Applied(1)), seen={VANS}, wanted={DEPOT})
    lane.pending[0].repair = True
    assert [(each.change, each.outcome, each.repair) for each in lane.results()] == [
        (attach(A, DEPOT), Applied(1), True)
    ]


async def test_the_end_of_a_run_changes_no_outcome_that_is_known() -> None:
    lane = _lane((attach(A, DEPOT), Applied(1)), (detach(A, VANS), None), seen={VANS}, wanted={DEPOT}, sent=0)
    lane.interrupt(JournalError("disk full"))
    assert [each.outcome for each in lane.pending] == [
        Applied(1),
        Deferred(0, JournalError.code, "not sent: disk full"),
    ]


async def test_a_later_reading_that_shows_an_unclear_change_confirms_it() -> None:
    lane = _lane((attach(A, DEPOT), Unknown(2, "timeout", "reset", "req_1")), seen=set(), wanted={DEPOT})
    lane.state.mark_written()
    lane.conclude()  # nothing is newer than the write
    found = [lane.pending[0].outcome]
    for shown in (frozenset[FleetId](), frozenset({DEPOT})):
        lane.state.add_reading(shown)
        lane.conclude()
        found.append(lane.pending[0].outcome)
    unclear = Unknown(2, "timeout", "reset", "req_1")
    assert found == [unclear, unclear, Applied(2, "req_1", "confirmed by a later reading")]


async def test_a_later_reading_that_does_not_show_an_accepted_change_makes_it_unknown_and_no_second_problem() -> None:
    lane = _lane((attach(A, DEPOT), Applied(2, "req_1")), seen=set(), wanted={DEPOT})
    before = lane.is_unconfirmed
    lane.state.mark_written()
    lane.state.add_reading(frozenset())
    lane.conclude()
    (result,) = lane.results()
    assert isinstance(result.outcome, Unknown)
    assert (result.outcome.attempts, result.outcome.code, result.outcome.request_id) == (2, "not_converging", "req_1")
    assert (before, lane.is_unconfirmed) == (False, True)
    assert lane.problems() == [], "the outcome says so"


async def test_a_change_that_was_never_sent_is_not_made_unknown_by_a_reading() -> None:
    lane = _lane((detach(A, VANS), Already(0)), seen={VANS, DEPOT}, wanted={DEPOT})
    lane.conclude()
    assert lane.pending[0].outcome == Already(0)
    assert [each.message for each in lane.problems()] == [
        f"the driver is in fleet {VANS} again: another client did that"
    ]


async def test_a_driver_that_is_not_where_the_sources_want_it_is_a_problem_only_if_it_was_written() -> None:
    written, unwritten = (
        _lane((detach(A, VANS), Applied(1)), seen={VANS}, wanted={DEPOT, NORTH}, sent=sent) for sent in (1, 0)
    )
    for lane in (written, unwritten):
        lane.state.add_reading(frozenset({NORTH}))
    assert [(each.where, each.message) for each in written.problems()] == [
        (A, f"the driver is not in fleet {DEPOT}, although the sources want it")
    ]
    assert unwritten.problems() == []
    written.state.mark_written()
    assert written.problems() == [], "the outcome says that the effect is unknown"


@pytest.mark.parametrize(
    ("fleet", "enforced", "said"), [(NORTH, True, True), (NORTH, False, False), (VANS, True, False)]
)
async def test_a_fleet_that_a_later_reading_shows_is_a_problem_if_only_wanted_drivers_may_be_in_it(
    fleet: FleetId, enforced: bool, said: bool
) -> None:
    """Where the first reading showed it, the plan has a detach, or a reason for none."""
    fleets = frozenset({VANS, DEPOT, NORTH} if enforced else ())
    lane = _lane((attach(A, DEPOT), Applied(1)), seen={VANS}, wanted={DEPOT}, enforced=fleets)
    lane.state.add_reading(frozenset({DEPOT, fleet}))
    message = f"the driver is in fleet {fleet} now, although the sources do not want it: another client did that"
    assert [each.message for each in lane.problems()] == ([message] if said else [])
    assert lane.is_contradicted is said


@pytest.mark.parametrize(("wanted", "said"), [({DEPOT}, ["the driver no longer exists"]), (set(), [])])
async def test_that_a_driver_is_gone_is_a_problem_only_if_it_is_wanted(wanted: set[FleetId], said: list[str]) -> None:
    lane = _lane((detach(A, VANS), Applied(1)), seen={VANS}, wanted=wanted)
    lane.state.mark_deleted()
    assert [each.message for each in lane.problems()] == said


@pytest.mark.parametrize(
    ("outcome", "level", "fields"),
    [
        (Applied(1, "req_1"), "info", {"attempts": 1, "request_id": "req_1"}),
        (Already(2), "info", {"attempts": 2, "request_id": None}),
        (Stale("gone"), "warning", {"message": "gone"}),
        (
            Refused(1, "c", "no", "req_1"),
            "warning",
            {"attempts": 1, "request_id": "req_1", "code": "c", "message": "no"},
        ),
        (Deferred(0, "c", "no"), "warning", {"attempts": 0, "request_id": None, "code": "c", "message": "no"}),
        (Unknown(3, "c", "no"), "warning", {"attempts": 3, "request_id": None, "code": "c", "message": "no"}),
    ],
)
async def test_an_outcome_is_logged_with_the_names_that_are_known(
    log: list[dict[str, Any]], outcome: Outcome, level: str, fields: dict[str, object]
) -> None:
    writer = _writer(harness.Harness(account()).context())
    log.clear()
    writer.log_outcome(attach(A, DEPOT), outcome)
    named = {"driver": A, "driver_name": "Ann", "fleet": DEPOT}
    (line,) = log
    assert line == {"event": "membership_attach", "log_level": level, **named, "outcome": outcome.name, **fields}


async def test_what_charge_accepted_and_does_not_show_names_the_statuses_that_may_be_the_reason() -> None:
    writer = _writer(harness.Harness(account()).context(), **{A: "suspended", DEPOT: "archived"})
    assert writer.not_converging(attach(A, DEPOT), 2, "req_1").message == (
        "Charge accepted the change, but a later reading does not show it; the driver is suspended; the fleet is"
        " archived"
    )
    assert (
        "driver is"
        not in _writer(harness.Harness(account()).context()).not_converging(attach(A, DEPOT), 2, None).message
    )


# --- Repairs -----------------------------------------------------------------------------------------------


class FullForRepairs(memory_journal.MemoryJournal):
    """A journal that takes outcomes, but no further intents."""

    async def add_intents(self, run: RunId, intents: Sequence[Intent]) -> None:
        raise JournalError("no space left on device")


async def _repairing(
    journal: memory_journal.MemoryJournal | None = None,
) -> tuple[harness.Harness, run_context.RunContext, driver_lane.DriverLane]:
    """Return the lane of a driver who lost a wanted fleet since this run read it."""
    account_harness = harness.Harness(account(), journal=journal)
    context = account_harness.context()
    await context.journal.begin(context.run, trigger="test", guarded=doubles.guarded(()), intents=[])
    outcomes = outcome_writer.OutcomeWriter(journal=context.journal, run_cancellation=context.cancellation)
    seen = frozenset({VANS, DEPOT})
    state = driver_state.DriverState(ConcernedDriver(seen, seen))
    state.add_reading(frozenset({VANS}))
    lane = driver_lane.DriverLane(context, _writer(context), outcomes, driver=A, pending=[], state=state)
    return account_harness, context, lane


async def test_a_lost_membership_is_restored_at_the_end_of_a_lane_and_reported_as_a_repair() -> None:
    account_harness, _, lane = await _repairing()
    await lane.run()
    assert account_harness.fleets_of(A) == {VANS, DEPOT}
    ((change, name, repair),) = [(each.change, each.outcome.name, each.repair) for each in lane.results()]
    assert (change, name, repair) == (attach(A, DEPOT), "applied", True)
    assert not await lane.repair_lost()


async def test_a_repair_that_cannot_be_recorded_stops_the_run_and_is_not_sent() -> None:
    """Also where the journal would still take outcomes."""
    account_harness, context, lane = await _repairing(FullForRepairs())
    assert await lane.repair_lost()
    assert isinstance(context.cancellation.reason, JournalError)
    assert (lane.results(), account_harness.writes) == ([], [])


async def test_a_run_that_was_stopped_repairs_nothing() -> None:
    account_harness, context, lane = await _repairing()
    context.cancellation.request_stop(JournalError("no space left on device"))
    await lane.run()
    assert (lane.results(), account_harness.writes) == ([], [])
