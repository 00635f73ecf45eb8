"""The text for a snapshot: each condition has its sentence, and the worst comes first."""

import dataclasses
import datetime

import pytest

from tests.core.snapshots import (
    ATTACH,
    DETACH,
    DRIFTED,
    DUPLICATE,
    FULL,
    MINUTE,
    NOW,
    OTHER,
    QUIET,
    UNSETTLED,
    broken,
    ended,
    guarded,
    held,
    present,
    running,
)
from tests.core.worlds import VANS
from worker.core.model.outcomes import NOT_CONVERGING, Refused, Unknown
from worker.core.model.pauses import Pause
from worker.core.model.ports import Stage
from worker.core.model.problem import Problem
from worker.core.model.source_history import ShrunkSource
from worker.core.monitoring import alerts, status, summary
from worker.core.safety import guard


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
            present(ended(guarded(problems=[Problem("a.yaml:1:1", "no"), Problem("a.yaml:2:1", "no")]))),
            "attention",
            "2 problems in the last reading: no one is detached from the affected fleets until this is fixed.",
        ),
        (
            present(QUIET, standing_by="no key", pauses=(Pause(NOW),), broken=(broken("source"),)),
            "broken",
            "The source cannot be read since 08:00: no changes are made; 1 more alert.",
        ),
        (
            present(QUIET, standing_by="another process writes", pauses=(Pause(NOW),)),
            "standing_by",
            "Standing by: another process writes.",
        ),
        (
            present(pauses=(Pause(NOW, fleet=VANS), Pause(NOW, None, "Emma"))),
            "paused",
            "All writes are paused by Emma, until someone resumes.",
        ),
        (
            present(QUIET, fleets=DRIFTED, running=running(Stage.READING_FLEETS, 0, 12)),
            "working",
            "Working: changing memberships, 0 of 12 done.",
        ),
        (
            present(ended(guarded(held=[held(DETACH, guard.MUST_SEE), held(OTHER)]))),
            "attention",
            "2 detaches are held and wait for your approval.",
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
