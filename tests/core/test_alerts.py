"""The items that need a person: what each says, and which comes first."""

import dataclasses

import pytest

from tests.core.snapshots import (
    ATTACH,
    DETACH,
    FULL,
    MINUTE,
    NOW,
    OTHER,
    QUIET,
    broken,
    ended,
    guarded,
    held,
    present,
)
from tests.core.worlds import DEPOT, VANS, A, B
from worker.core.model.errors import FleetSyncError, ProcessSuspended, ServerFault, SourceError, Stopped
from worker.core.model.outcomes import Already, Applied, Deferred, Outcome, Refused, Stale, Unknown
from worker.core.model.pauses import Pause
from worker.core.model.plan import Action, Change
from worker.core.model.ports import PastRefusals
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.source_history import ShrunkSource
from worker.core.monitoring import alerts, summary
from worker.core.safety import guard, refusal_backoff


def test_what_broke_is_reported_once() -> None:
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


def test_held_changes_are_grouped_by_reason() -> None:
    more = Change(Action.DETACH, A, VANS)
    sentinel_hold = held(ATTACH, guard.MUST_SEE, "wrong account")
    plan = guarded(held=[held(DETACH), held(more), held(OTHER, message="too many here"), sentinel_hold])
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


def test_one_reason_in_several_fleets_is_one_alert() -> None:
    (item,) = alerts.alerts(present(ended(guarded(held=[held(DETACH), held(OTHER)]))))
    assert (item.title, item.fleet, item.changes) == ("2 detaches held in 2 fleets", None, (DETACH, OTHER))


def test_what_is_held_for_a_source_that_shrank_is_in_its_alert() -> None:
    shrunk = ShrunkSource("hr", 50, 100, "hr has 50 rows")
    plan = guarded(held=[held(DETACH, guard.SOURCE_SHRANK, "hr has 50 rows"), held(OTHER, guard.SOURCE_SHRANK, "b")])
    plan = dataclasses.replace(plan, shrunk=(shrunk,))
    hr, other = alerts.alerts(present(ended(plan)))
    assert (hr.title, hr.changes) == ("A source lost too many rows: detaches are held", (DETACH,))
    assert (other.title, other.message) == ("1 detach held", "b")


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


def test_a_pause_says_who_why_until_when_and_how_it_ends() -> None:
    pauses = (Pause(NOW, None, "Emma", "migration"), Pause(NOW - MINUTE, NOW + MINUTE, fleet=VANS))
    everywhere, vans = alerts.alerts(present(QUIET, pauses=pauses))
    assert (everywhere.title, everywhere.message, everywhere.since, everywhere.fleet) == (
        "All writes are paused by Emma, until someone resumes",
        "migration",
        NOW,
        None,
    )
    assert everywhere.remedy == (
        "To go on, use Resume or `fleet-sync resume`. Either ends the pauses of single fleets too."
    )
    assert (vans.title, vans.since, vans.fleet) == ("Writes are paused, until 08:01", NOW - MINUTE, VANS)
    assert vans.remedy == f"To go on, use Resume or `fleet-sync resume --fleet {VANS}`."
    (alone,) = alerts.alerts(present(QUIET, pauses=pauses[:1]))
    assert alone.remedy == "To go on, use Resume or `fleet-sync resume`."


def test_of_several_broken_parts_the_worst_comes_first_and_a_stale_source_has_a_title_of_its_own() -> None:
    stale = SourceError([], code="source_stale")
    parts = ["settings", "source", "clock", "charge", "journal", "key"]
    found = alerts.alerts(present(QUIET, broken=tuple(broken(part) for part in parts)))
    assert [item.title.partition(" since")[0] for item in found] == [title for title, _ in alerts.PARTS.values()]
    (item,) = alerts.alerts(present(QUIET, broken=(broken("source", stale),)))
    assert (item.title, item.since) == ("A source is too old since 08:00: no changes are made", NOW)


def test_another_error_than_those_of_the_broken_parts_is_reported_beside_them() -> None:
    failed = ended(None, error=ServerFault("502", status=502))
    key, run = alerts.alerts(present(failed, broken=(broken("key"),)))
    assert (key.message, run.message) == (FULL.message, "502")
    assert (run.title, run.since) == ("The last run failed at 07:59: some changes were not made", failed.finished)


def test_a_problem_says_where_it_is_and_what_helps() -> None:
    planned = Problem("a.yaml:1:1", "leads nowhere", remedy="Correct it.", code=ProblemCode.UNRESOLVED_FLEET)
    later = Problem(A, "is not where it should be", code=ProblemCode.NOT_AS_WANTED)
    first, second = alerts.alerts(present(ended(guarded(problems=[planned]), problems=(later,))))
    assert (first.kind, first.title, first.message, first.remedy, first.code) == (
        alerts.Kind.PROBLEM,
        "a.yaml:1:1",
        "leads nowhere",
        "Correct it.",
        ProblemCode.UNRESOLVED_FLEET,
    )
    assert (second.title, second.code) == (A, ProblemCode.NOT_AS_WANTED)


def test_problems_of_a_run_without_a_plan_are_shown_too() -> None:
    (error, problem) = alerts.alerts(present(ended(None, error=FULL, problems=(Problem(A, "unknown"),))))
    assert (error.message, problem.message) == (FULL.message, "unknown")


def test_a_freezing_guard_makes_a_frozen_alert_and_any_other_a_held_one() -> None:
    plan = guarded(held=[held(DETACH, "flapping", "reverted"), held(OTHER, guard.SOURCE_REWRITTEN, "rewritten")])
    rewritten, frozen = alerts.alerts(present(ended(plan)))
    assert (rewritten.title, rewritten.guard, rewritten.digest) == (
        "1 detach held",
        guard.SOURCE_REWRITTEN,
        plan.held_digest,
    )
    assert (frozen.title, frozen.guard, frozen.digest) == ("1 detach frozen", "flapping", plan.held_digest)
