"""How a run ended: the table of verdicts and exit codes."""

import pytest

from tests.core import worlds
from tests.core.worlds import VANS, A, B
from worker.core import digest, errors, outcomes, report, values

ATTACH = values.Change(values.Action.ATTACH, A, VANS)
DETACH = values.Change(values.Action.DETACH, B, VANS)
HELD = values.Held(DETACH, "max_detach_fraction", "too many")

APPLIED = outcomes.Applied(1)
ALREADY = outcomes.Already(1)
REFUSED = outcomes.Refused(1, "driver_blocked", "no")
STALE = outcomes.Stale("it is there already")
DEFERRED = outcomes.Deferred(0, "attach_failed", "its attach failed")
UNKNOWN = outcomes.Unknown(6, "charge_unreachable", "reset")


def judged(
    *, changes: tuple[values.Change, ...] = (), held: tuple[values.Held, ...] = (), unsettled: bool = False
) -> values.Judged:
    return values.Judged(
        account=worlds.ACCOUNT,
        created=worlds.NOW,
        sources=(),
        changes=changes,
        held=held,
        problems=(),
        in_sync=0,
        fleets=1,
        drivers=2,
        cost=values.Cost(0, 0.0),
        digest="sha256:0",
        unsettled=unsettled,
    )


def ended(
    *came: outcomes.Outcome,
    plan: values.Judged | None = None,
    error: errors.FleetSyncError | None = None,
) -> report.Report:
    results = tuple(outcomes.Result(ATTACH, outcome) for outcome in came)
    return report.Report(values.RunId("run_1"), worlds.NOW, worlds.NOW, plan, results, error=error)


STOPPED, FULL = errors.Stopped("SIGTERM", exit_code=143), errors.JournalError("disk full")


@pytest.mark.parametrize(
    ("finished", "verdict", "exit_code"),
    [
        (ended(plan=judged()), "in_sync", 0),
        (ended(APPLIED, plan=judged()), "converged", 0),
        (ended(APPLIED, ALREADY, plan=judged()), "converged", 0),
        (ended(plan=judged(held=(HELD,))), "held", 3),
        (ended(APPLIED, plan=judged(held=(HELD,))), "held", 3),
        (ended(APPLIED, REFUSED, plan=judged()), "partial", 4),
        (ended(STALE, plan=judged()), "partial", 4),
        (ended(DEFERRED, plan=judged()), "partial", 4),
        (ended(UNKNOWN, plan=judged()), "partial", 4),
        (ended(UNKNOWN, plan=judged(held=(HELD,))), "partial", 4),
        (ended(plan=judged(unsettled=True)), "partial", 4),
        (ended(APPLIED, plan=judged(held=(HELD,), unsettled=True)), "partial", 4),
        (ended(), "failed", 1),
        (ended(error=errors.SourceError([])), "failed", 1),
        (ended(APPLIED, UNKNOWN, plan=judged(held=(HELD,)), error=FULL), "failed", 1),
        (ended(APPLIED, plan=judged(), error=STOPPED), "failed", 143),
    ],
)
def test_the_table_of_results(finished: report.Report, verdict: str, exit_code: int) -> None:
    """1 before 4 before 3; a run that was stopped ends with its signal's code."""
    assert finished.verdict == verdict
    assert finished.exit_code == exit_code


@pytest.mark.parametrize("detailed", [False, True])
@pytest.mark.parametrize(
    ("plan", "plain", "in_detail"),
    [
        (judged(), 0, 0),
        (judged(changes=(ATTACH,)), 0, 2),
        (judged(changes=(ATTACH,), held=(HELD,)), 3, 3),
        (judged(held=(HELD,), unsettled=True), 4, 4),
        (judged(changes=(ATTACH,), unsettled=True), 4, 4),
    ],
)
def test_the_exit_code_of_a_plan(plan: values.Judged, plain: int, in_detail: int, detailed: bool) -> None:
    assert report.plan_exit_code(plan, detailed=detailed) == (in_detail if detailed else plain)


def test_every_outcome_is_counted_even_those_that_did_not_happen() -> None:
    counts = ended(APPLIED, APPLIED, STALE, plan=judged()).counts
    assert counts == {"applied": 2, "already": 0, "refused": 0, "stale": 1, "deferred": 0, "unknown": 0}
    assert tuple(counts) == outcomes.NAMES


def test_only_applied_and_already_are_done() -> None:
    done = [
        outcome.name
        for outcome in (APPLIED, ALREADY, REFUSED, STALE, DEFERRED, UNKNOWN)
        if outcomes.Result(ATTACH, outcome).done
    ]
    assert done == ["applied", "already"]


def test_what_is_to_be_approved_is_what_the_run_left() -> None:
    """The next run's plan has no longer what was made; what was not made is still due then."""
    plan = judged(changes=(ATTACH,), held=(HELD,))
    assert ended().digest_left == ""
    assert ended(REFUSED, plan=plan).digest_left == plan.digest
    assert ended(APPLIED, plan=plan).digest_left == digest.digest(worlds.ACCOUNT, (), (DETACH,))
