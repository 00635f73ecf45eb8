"""The text for a snapshot: each condition has its sentence, and the worst comes first."""

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import pytest

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS, A, B, C
from worker.core.model.errors import FleetSyncError, JournalError, ProcessSuspended, ServerFault, Stopped
from worker.core.model.identifiers import RunId
from worker.core.model.outcomes import (
    NOT_CONVERGING,
    Already,
    Applied,
    ChangeResult,
    Deferred,
    Outcome,
    Refused,
    Stale,
    Unknown,
)
from worker.core.model.pauses import Pause
from worker.core.model.plan import Action, Change, Cost, GuardedPlan, HeldChange
from worker.core.model.ports import PastRefusals, Stage
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.report import Report
from worker.core.model.source_history import ShrunkSource
from worker.core.monitoring import alerts, humanize, status, summary
from worker.core.safety import guard, refusal_backoff

NOW = worlds.NOW
MINUTE = datetime.timedelta(minutes=1)
ATTACH = Change(Action.ATTACH, A, VANS)
DETACH = Change(Action.DETACH, B, VANS)
OTHER = Change(Action.DETACH, C, DEPOT)
FULL = JournalError("no space left on device")


def guarded(
    changes: Sequence[Change] = (),
    *,
    held: Sequence[HeldChange] = (),
    problems: Sequence[Problem] = (),
    unsettled: bool = False,
) -> GuardedPlan:
    return GuardedPlan(
        account=worlds.ACCOUNT,
        created=NOW,
        sources=(),
        changes=tuple(changes),
        held=tuple(held),
        problems=tuple(problems),
        in_sync=7,
        fleets=2,
        drivers=7,
        cost=Cost(0, 0.0),
        digest="sha256:1",
        unsettled=unsettled,
    )


def ended(plan: GuardedPlan | None, *came: Outcome, **more: Any) -> Report:
    results = tuple(map(ChangeResult, plan.changes if plan else (), came))
    return Report(RunId("run_1"), NOW - 2 * MINUTE, NOW - MINUTE, plan, results, **more)


def present(last: Report | None = None, **more: Any) -> status.Status:
    fleets = (status.Fleet(VANS, "Paris vans", in_sync=5), status.Fleet(DEPOT, "", in_sync=2))
    made = status.Status(
        now=NOW,
        started=NOW - datetime.timedelta(days=1),
        version="1",
        account=worlds.ACCOUNT,
        interval=5 * MINUTE,
        pace=1.0,
        ceiling=2.0,
        last=last,
        fleets=fleets,
    )
    return dataclasses.replace(made, **more)


def running(stage: Stage | None = None, done: int = 0, total: int | None = None) -> status.Running:
    return status.Running(RunId("run_2"), "interval", NOW, stage, done, total)


def held(change: Change, by: str = guard.PER_FLEET, message: str = "too many") -> HeldChange:
    return HeldChange(change, by, message)


QUIET = ended(guarded())
DRIFTED = (status.Fleet(VANS, "", drifted=3), status.Fleet(DEPOT, "", drifted=1), status.Fleet(NORTH, ""))
DUPLICATE = Problem("a.yaml:9:3", "is the same as a.yaml:2:3", note=True)
UNSETTLED = guarded(problems=[Problem("a.yaml:1:1", "leads nowhere")], unsettled=True)


def broken(part: str, error: FleetSyncError = FULL, *, since: datetime.datetime = NOW) -> status.Broken:
    return status.Broken(status.Part(part), since, error)


@pytest.mark.parametrize(
    ("snapshot", "condition", "headline"),
    [
        (present(), "starting", "Starting: the first run is in progress."),
        (
            present(running=running(Stage.READING_FLEETS)),
            "starting",
            "Starting: the first run is in progress (reading fleets).",
        ),
        (
            present(standing_by="another process writes to this journal"),
            "standing_by",
            "Standing by: another process writes to this journal.",
        ),
        (
            present(QUIET, pauses=(Pause(NOW, None, "Emma", "migration"),)),
            "paused",
            "All writes are paused by Emma, until someone resumes.",
        ),
        (
            present(
                QUIET,
                pauses=(Pause(NOW, NOW + 90 * MINUTE),),
                fleets=(status.Fleet(VANS, "Paris vans", in_sync=5, drifted=2),),
            ),
            "paused",
            "All writes are paused, until 09:30; 2 changes planned.",
        ),
        (
            present(QUIET, pauses=(Pause(NOW, fleet=VANS),)),
            "attention",
            "Writes are paused, until someone resumes.",
        ),
        (present(QUIET), "in_sync", "In sync: 2 fleets, 7 memberships, checked 1 min ago."),
        (
            present(ended(guarded([ATTACH]), observed=True), fleets=DRIFTED),
            "drifting",
            "Drifted: 4 memberships in 2 fleets not yet in sync (fleet-sync only observes), checked 1 min ago.",
        ),
        (
            present(QUIET, next_run=NOW + 4 * MINUTE),
            "in_sync",
            "In sync: 2 fleets, 7 memberships, checked 1 min ago, next in 4 min.",
        ),
        (
            present(QUIET, next_run=NOW),
            "in_sync",
            "In sync: 2 fleets, 7 memberships, checked 1 min ago, next any moment.",
        ),
        (
            present(QUIET, running=running(Stage.READING_FLEETS)),
            "in_sync",
            "In sync: 2 fleets, 7 memberships, checked 1 min ago, checking again now.",
        ),
        (present(QUIET, running=running(Stage.CHANGING_MEMBERSHIPS)), "working", "Working: changing memberships."),
        (
            present(QUIET, running=running(Stage.CHANGING_MEMBERSHIPS, 1200, 3000)),
            "working",
            "Working: changing memberships, 1,200 of 3,000 done.",
        ),
        (
            present(QUIET, fleets=DRIFTED, running=running(Stage.READING_FLEETS)),
            "working",
            "Working: changing memberships.",
        ),
        (
            present(QUIET, fleets=DRIFTED),
            "drifting",
            "Drifted: 4 memberships in 2 fleets not yet in sync, checked 1 min ago.",
        ),
        (
            present(ended(guarded(held=[held(DETACH)]))),
            "attention",
            "1 detach is held and waits for your approval.",
        ),
        (
            present(ended(guarded(held=[held(DETACH), held(OTHER)]))),
            "attention",
            "2 detaches are held and wait for your approval.",
        ),
        (
            present(ended(guarded(held=[held(ATTACH, guard.REFERENCE_MOVED), held(DETACH, guard.REFERENCE_MOVED)]))),
            "attention",
            "2 changes are held and wait for your approval.",
        ),
        (
            present(ended(guarded(held=[held(DETACH, guard.MUST_SEE)]))),
            "attention",
            "1 detach is held and cannot be approved: the reading cannot be right.",
        ),
        (
            present(ended(guarded(held=[held(DETACH, "flapping"), held(OTHER, NOT_CONVERGING)]))),
            "attention",
            "2 memberships are frozen: our changes keep being reverted.",
        ),
        (
            present(ended(guarded([ATTACH]), Refused(1, "driver_blocked", "no", "req_1"))),
            "attention",
            "Charge refused 1 change.",
        ),
        (
            present(ended(guarded([ATTACH]), Unknown(1, "charge_unreachable", "reset"))),
            "attention",
            "It is not known whether 1 change took effect: the next run finds out.",
        ),
        (
            present(ended(UNSETTLED)),
            "attention",
            "1 problem in the last reading: no one is detached from the affected fleets until this is fixed.",
        ),
        (
            present(ended(guarded([ATTACH], held=[held(DETACH)]), Refused(1, "c", "no"))),
            "attention",
            "1 detach is held and waits for your approval; 1 more alert.",
        ),
        (
            present(QUIET, broken=(broken("settings"), broken("source"))),
            "broken",
            "The source cannot be read since 08:00: no changes are made.",
        ),
        (
            present(QUIET, broken=(broken("key", since=NOW - datetime.timedelta(days=1)),)),
            "broken",
            "Charge rejects the key since 2026-10-04 08:00: no changes are made.",
        ),
        (
            present(ended(None, error=FULL)),
            "broken",
            "The last run failed at 07:59: some changes were not made.",
        ),
    ],
)
def test_one_sentence_says_how_things_are(snapshot: status.Status, condition: str, headline: str) -> None:
    found = summary.summarize(snapshot)
    assert (found.condition, found.headline) == (condition, headline)
    assert found.items == alerts.alerts(snapshot)


def test_the_gist_stands_still_while_only_time_passes() -> None:
    now, later = summary.summarize(present(QUIET)), summary.summarize(present(QUIET, now=NOW + MINUTE))
    assert later.gist == now.gist
    assert later.headline != now.headline


def test_what_broke_is_told_once() -> None:
    """The last run failed with the same error as the broken part."""
    items = alerts.alerts(present(ended(None, error=FULL), broken=(broken("journal"),)))
    assert [(item.title, item.message, item.code) for item in items] == [
        ("The journal cannot be written since 08:00: no changes are made", FULL.message, "journal_unwritable")
    ]
    assert items[0].remedy == FULL.remedy


@pytest.mark.parametrize(
    "error", [Stopped("ended by SIGTERM", exit_code=143), ProcessSuspended("the process stood still")]
)
def test_a_run_that_was_cut_short_is_nothing_to_look_at(error: FleetSyncError) -> None:
    assert alerts.alerts(present(ended(guarded(), error=error))) == ()


def test_charges_own_request_id_is_given() -> None:
    error = ServerFault("502", status=502, request_id="req_9")
    (item,) = alerts.alerts(present(QUIET, broken=(broken("charge", error),)))
    assert item.request_id == "req_9"


def test_a_clock_that_is_not_trusted_is_shown_as_a_broken_part_only() -> None:
    clock = Problem("clock", "10 minutes apart", code=ProblemCode.CLOCK_NOT_TRUSTED)
    assert alerts.alerts(present(ended(guarded(problems=[clock])))) == ()


def test_the_most_urgent_comes_first() -> None:
    plan = guarded(
        [ATTACH, DETACH, OTHER],
        held=[held(DETACH, "flapping"), held(OTHER)],
        problems=[Problem("a.yaml:1:1", "leads nowhere")],
        unsettled=True,
    )
    last = ended(
        plan,
        Unknown(1, "u", "reset"),
        Refused(1, "r", "no"),
        Applied(1),
        problems=(Problem(VANS, "could not be read back"),),
    )
    items = alerts.alerts(present(last, broken=(broken("source"),)))
    kinds = ["broken", "held", "frozen", "refused", "unknown", "problem", "problem"]
    assert [item.kind for item in items] == kinds


def test_held_changes_are_grouped_by_guard_and_fleet() -> None:
    more = Change(Action.DETACH, A, VANS)
    plan = guarded(held=[held(DETACH), held(more), held(OTHER), held(ATTACH, guard.MUST_SEE, "wrong account")])
    vans, depot, sentinel = alerts.alerts(present(ended(plan)))
    assert (vans.title, vans.fleet, vans.changes, vans.digest) == (
        "2 detaches held",
        VANS,
        (DETACH, more),
        plan.held_digest,
    )
    assert (depot.title, depot.fleet) == ("1 detach held", DEPOT)
    assert (sentinel.digest, sentinel.message) == ("", "wrong account")
    assert "cannot be approved" in sentinel.remedy


def test_an_approval_names_exactly_what_it_lets_through() -> None:
    sentinel, other = held(DETACH, guard.MUST_SEE), held(ATTACH, guard.REFERENCE_MOVED)
    plan = guarded(held=[sentinel, other])
    given = alerts.approval(present(ended(plan)))
    assert given == alerts.Approval(plan.held_digest, (other,))
    assert alerts.approval(present(ended(guarded(held=[sentinel])))) is None
    assert alerts.approval(present(QUIET)) is None
    assert alerts.approval(present(ended(None, error=FULL))) is None
    assert alerts.approval(present()) is None


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Refused(1, "not_found", "no such driver"), "still exist"),
        (Refused(1, "driver_blocked", "no"), "API reference"),
        (Deferred(0, "refused_before", "not tried this time"), "longer and longer pauses"),
        (Unknown(6, "charge_unreachable", "reset"), "next run"),
    ],
)
def test_what_was_not_made_says_what_to_do(outcome: Outcome, told: str) -> None:
    (item,) = alerts.alerts(present(ended(guarded([ATTACH]), outcome)))
    assert told in item.remedy
    assert (item.changes, item.fleet, item.message) == ((ATTACH,), VANS, outcome.message)


def test_refusals_of_one_fleet_with_one_code_are_one_alert_with_charges_code_and_the_next_try() -> None:
    later = Change(Action.ATTACH, B, VANS, row="row")
    past = PastRefusals("row", 1, NOW, "driver_blocked", "no", "req_2")
    write = (later.action, later.driver, later.fleet)
    (waits,) = refusal_backoff.postponed([later], {write: past}, NOW).values()
    plan = guarded([ATTACH, later, Change(Action.ATTACH, A, DEPOT)])
    results = ended(plan, Refused(1, "driver_blocked", "no", "req_1"), waits, Refused(1, "driver_blocked", "no"))
    vans, depot = alerts.alerts(present(results))
    assert (vans.title, vans.code, vans.request_id, len(vans.changes)) == (
        "2 attaches refused",
        "driver_blocked",
        "req_1",
        2,
    )
    assert vans.next_try == refusal_backoff.due_time(past)
    assert (depot.title, depot.next_try) == ("1 attach refused", None)
    assert summary.summarize(present(results)).gist == "Charge refused 3 changes"


@pytest.mark.parametrize(
    "outcome",
    [Applied(1), Already(1), Stale("gone"), Deferred(0, "attach_first", "waits")],
)
def test_what_settles_itself_needs_nobody(outcome: Outcome) -> None:
    assert alerts.alerts(present(ended(guarded([ATTACH]), outcome))) == ()


def test_a_harmless_notice_alarms_nobody() -> None:
    plan = guarded(problems=[DUPLICATE])
    snapshot = present(ended(plan))
    assert [item.kind for item in alerts.alerts(snapshot)] == ["note"]
    assert summary.summarize(snapshot).condition == "in_sync"


def test_a_reference_that_leads_nowhere_makes_no_problem_of_a_notice() -> None:
    plan = guarded(problems=[DUPLICATE, Problem("a.yaml:1:1", "leads nowhere")], unsettled=True)
    snapshot = present(ended(plan))
    assert [item.kind for item in alerts.alerts(snapshot)] == ["problem", "note"]
    assert summary.summarize(snapshot).gist.startswith("1 problem in the last reading")


# --- Words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (47.9 * 3600, "47 h"),
        (48 * 3600, "2 days"),
    ],
)
def test_a_length_of_time_has_one_unit(seconds: float, said: str) -> None:
    assert humanize.duration(datetime.timedelta(seconds=seconds)) == said


def test_moments_are_told_from_now() -> None:
    assert humanize.ago(NOW, NOW + datetime.timedelta(seconds=4)) == "just now"
    assert humanize.ago(NOW, NOW + datetime.timedelta(seconds=40)) == "40 s ago"
    assert humanize.time_until(NOW + MINUTE, NOW) == "in 1 min"
    assert humanize.time_until(NOW, NOW) == "any moment"
    paris = datetime.timezone(datetime.timedelta(hours=2))
    assert humanize.time_of_day(NOW.astimezone(paris), NOW) == "08:00"


def test_a_source_that_shrank_needs_an_approval_even_if_no_change_is_held() -> None:
    plan = dataclasses.replace(guarded(), shrunk=(ShrunkSource("hr", 50, 100, "hr lost half"),))
    now = present(ended(plan))
    assert summary.summarize(now).headline == "A source lost too many rows, and waits for your approval."
    (alert,) = alerts.alerts(now)
    assert (alert.kind, alert.guard, alert.message, alert.digest) == (
        alerts.Kind.HELD,
        "source_shrank",
        "hr lost half",
        plan.held_digest,
    )
    assert alerts.approval(now) == alerts.Approval(plan.held_digest, (), plan.shrunk)
