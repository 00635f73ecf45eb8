"""The JSON documents, field by field, as programs rely on them."""

import dataclasses
import datetime
import json

import pytest

from tests.core import worlds
from tests.core.worlds import DEPOT, VANS, A, B, C, D, E
from worker.core.model.desired import Origin, SourceRevision
from worker.core.model.errors import JournalError, SourceError
from worker.core.model.identifiers import IntentKey, RunId
from worker.core.model.outcomes import Already, Applied, ChangeResult, Deferred, Outcome, Refused, Stale, Unknown
from worker.core.model.people import Person
from worker.core.model.plan import Action, Change, Cost, GuardedPlan, HeldChange, RecentCounts
from worker.core.model.plan_digest import held_digest
from worker.core.model.ports import PastApproval, PastChange, PastRun
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.report import Report, Traffic
from worker.core.model.serialization import (
    failure_document,
    format_time,
    outcome_document,
    past_changes_document,
    past_report_document,
    past_run_document,
    plan_document,
    problem_document,
    report_document,
)
from worker.core.model.source_history import ShrunkSource

ATTACH = Change(Action.ATTACH, A, VANS, Origin("membership.yaml", 4, 9))
DETACH = Change(Action.DETACH, B, DEPOT)

GUARDED = GuardedPlan(
    account=worlds.ACCOUNT,
    created=worlds.NOW,
    sources=(
        SourceRevision("file", "membership.yaml", "sha256:ab", 7, "json", worlds.NOW - datetime.timedelta(hours=1)),
        SourceRevision("file", "guests.csv", "sha256:ef", 3),
    ),
    changes=(ATTACH, Change(Action.DETACH, A, DEPOT), Change(Action.DETACH, E, DEPOT)),
    held=(
        HeldChange(DETACH, "max_detach_fraction_per_fleet", "half of them"),
        HeldChange(Change(Action.DETACH, C, DEPOT), "must_see", "unseen"),
        HeldChange(Change(Action.DETACH, D, DEPOT), "must_see", "unseen"),
    ),
    problems=(
        Problem(
            "membership.yaml:7:9",
            "no driver has the e-mail address x@example.com",
            code=ProblemCode.UNRESOLVED_DRIVER,
        ),
    ),
    in_sync=5,
    fleets=2,
    drivers=7,
    cost=Cost(12, 0.48),
    digest="sha256:cd",
    unsettled=True,
    people={B: Person("", "bob@example.com"), A: Person("Alice", "alice@example.com"), C: Person()},
    fleet_names={VANS: "Vans", DEPOT: ""},
    shrunk=(ShrunkSource("guests.csv", 3, 9, "it lost 6"),),
    recent=RecentCounts(12.0, 3, 2, 1, worlds.NOW),
)

NAMES = {A: "Alice", B: "bob@example.com", VANS: "Vans"}
WINDOW = {"hours": 12.0, "since": "2026-10-05T08:00:00.000Z", "detached": 3, "attached": 2, "approved": 1}
PLAN = {
    "format": "fleet-sync/plan@1",
    "digest": "sha256:cd",
    "held_digest": GUARDED.held_digest,
    "account": {"base_url": "https://api.chargeapi.co/v1", "mode": "test"},
    "created": "2026-10-05T08:00:00.000Z",
    "sources": [
        {
            "kind": "file",
            "name": "membership.yaml",
            "revision": "sha256:ab",
            "rows": 7,
            "modified": "2026-10-05T07:00:00.000Z",
            "proof": "json",
        },
        {
            "kind": "file",
            "name": "guests.csv",
            "revision": "sha256:ef",
            "rows": 3,
            "modified": None,
            "proof": "none",
        },
    ],
    "changes": [
        {"action": "attach", "driver": A, "fleet": VANS, "origin": "membership.yaml:4:9"},
        {"action": "detach", "driver": A, "fleet": DEPOT, "origin": None},
        {"action": "detach", "driver": E, "fleet": DEPOT, "origin": None},
    ],
    "held": [
        {
            "action": "detach",
            "driver": B,
            "fleet": DEPOT,
            "origin": None,
            "guard": "max_detach_fraction_per_fleet",
            "message": "half of them",
        },
        *(
            {
                "action": "detach",
                "driver": one,
                "fleet": DEPOT,
                "origin": None,
                "guard": "must_see",
                "message": "unseen",
            }
            for one in (C, D)
        ),
    ],
    "shrunk": [{"source": "guests.csv", "rows": 3, "baseline": 9, "message": "it lost 6"}],
    "problems": [
        {
            "where": "membership.yaml:7:9",
            "message": "no driver has the e-mail address x@example.com",
            "code": "unresolved_driver",
            "remedy": None,
            "note": False,
        }
    ],
    "summary": {"attach": 1, "detach": 2, "held": 3, "in_sync": 5, "fleets": 2, "drivers": 7, "window": WINDOW},
    "cost": {"requests": 12, "seconds": 0.48},
    "names": NAMES,
}


def test_a_plan_as_a_document() -> None:
    assert plan_document(GUARDED) == PLAN
    assert list(plan_document(GUARDED)["names"]) == sorted(NAMES)
    assert json.loads(json.dumps(plan_document(GUARDED))) == PLAN


def test_a_note_is_told_from_a_problem() -> None:
    assert problem_document(Problem("journal", "it is new", note=True))["note"] is True


def test_a_report_as_a_document() -> None:
    finished = Report(
        run=RunId("run_1"),
        started=worlds.NOW,
        finished=worlds.NOW + datetime.timedelta(milliseconds=1500),
        guarded=GUARDED,
        results=(ChangeResult(ATTACH, Applied(2, "req_1")),),
        problems=(Problem(VANS, "changes back and forth", code=ProblemCode.NOT_AS_WANTED),),
        traffic=Traffic(reads=4, writes=2, retries=1, rate_limited=1),
    )
    assert json.loads(json.dumps(report_document(finished))) == {
        "format": "fleet-sync/report@1",
        "run": "run_1",
        "result": "partial",
        "exit_code": 4,
        "started": "2026-10-05T08:00:00.000Z",
        "finished": "2026-10-05T08:00:01.500Z",
        "plan": PLAN,
        "outcomes": {"applied": 1, "already": 0, "refused": 0, "stale": 0, "deferred": 0, "unknown": 0},
        "changes": [
            {
                "action": "attach",
                "driver": A,
                "fleet": VANS,
                "outcome": "applied",
                "attempts": 2,
                "request_id": "req_1",
                "code": None,
                "message": None,
            }
        ],
        "problems": [
            {
                "where": VANS,
                "message": "changes back and forth",
                "code": "not_as_wanted",
                "remedy": None,
                "note": False,
            }
        ],
        "requests": {"reads": 4, "writes": 2, "retries": 1, "rate_limited": 1},
        "error": None,
        "names": NAMES,
    }


def test_a_run_that_failed_before_there_was_a_plan_has_the_same_fields() -> None:
    error = SourceError([Problem("membership.yaml:1:1", "it is empty")])
    failed = report_document(Report(RunId("run_2"), worlds.NOW, worlds.NOW, None, error=error))
    assert (failed["result"], failed["exit_code"], failed["plan"]) == ("failed", 1, None)
    assert failed["changes"] == failed["problems"] == []
    assert failed["requests"] == {"reads": 0, "writes": 0, "retries": 0, "rate_limited": 0}
    assert failed["error"] == {
        "code": "source_invalid",
        "message": "membership.yaml:1:1: it is empty",
        "remedy": "Correct the source, then run `fleet-sync check`. Nothing was changed.",
    }


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Applied(1, "req_1"), ("applied", 1, "req_1", None, None)),
        (Already(2, None, "somebody else did"), ("already", 2, None, None, "somebody else did")),
        (Refused(1, "blocked", "no", "req_2"), ("refused", 1, "req_2", "blocked", "no")),
        (Stale("gone"), ("stale", 0, None, None, "gone")),
        (Deferred(0, "attach_failed", "later"), ("deferred", 0, None, "attach_failed", "later")),
        (Unknown(6, "charge_unreachable", "reset"), ("unknown", 6, None, "charge_unreachable", "reset")),
    ],
)
def test_every_outcome_has_the_same_fields(outcome: Outcome, expected: tuple[object, ...]) -> None:
    names = ("outcome", "attempts", "request_id", "code", "message")
    assert outcome_document(outcome) == dict(zip(names, expected, strict=True))


def test_an_error_without_a_report_is_a_document_too() -> None:
    assert failure_document(JournalError("disk full")) == {
        "format": "fleet-sync/error@1",
        "exit_code": 1,
        "error": {
            "code": "journal_unwritable",
            "message": "disk full",
            "remedy": "Make the journal of `[journal] url` writable, and check that its disk is not full.",
        },
    }


def test_a_moment_is_written_in_utc_with_milliseconds() -> None:
    paris = datetime.timezone(datetime.timedelta(hours=2))
    assert format_time(datetime.datetime(2026, 10, 5, 10, 0, 0, 123999, paris)) == "2026-10-05T08:00:00.123Z"


# --- Past runs --------------------------------------------------------------------------------------------


def _past_run(**fields: object) -> PastRun:
    known: dict[str, object] = {
        "run": "run_1",
        "trigger": "once",
        "started": worlds.NOW,
        "finished": None,
        "result": None,
        "exit_code": None,
        "outcomes": {"applied": 1},
    }
    return PastRun(**{**known, **fields})  # type: ignore[arg-type]


def _past_change(change: Change, **fields: object) -> PastChange:
    known: dict[str, object] = {
        "run": "run_1",
        "trigger": "once",
        "recorded": worlds.NOW,
        "key": f"key-{change.driver}",
        "change": change,
        "outcome": "applied",
        "attempts": 1,
        "request_id": "req_1",
        "code": None,
        "message": None,
    }
    return PastChange(**{**known, **fields})  # type: ignore[arg-type]


ZEROS = dict.fromkeys(("already", "refused", "stale", "deferred", "unknown"), 0)
MADE = {"outcome": "applied", "attempts": 1, "request_id": "req_1", "code": None, "message": None}


def test_a_past_run_as_history_lists_it() -> None:
    ended = _past_run(finished=worlds.NOW + datetime.timedelta(seconds=2), result="converged", exit_code=0)
    assert past_run_document(ended) == {
        "run": "run_1",
        "trigger": "once",
        "started": "2026-10-05T08:00:00.000Z",
        "finished": "2026-10-05T08:00:02.000Z",
        "result": "converged",
        "exit_code": 0,
        "outcomes": {"applied": 1, **ZEROS},
        "approval": None,
    }
    cut_off = past_run_document(_past_run(outcomes={}))
    assert (cut_off["finished"], cut_off["result"], cut_off["exit_code"]) == (None, None, None)
    assert cut_off["outcomes"] == {"applied": 0, **ZEROS}


def test_a_past_run_that_ended_is_shown_as_it_was_reported() -> None:
    done = ChangeResult(ATTACH, Applied(1, "req_1"))
    stale = ChangeResult(DETACH, Stale("the driver is gone"))
    finished = Report(
        run=RunId("run_1"),
        started=worlds.NOW,
        finished=worlds.NOW + datetime.timedelta(seconds=2),
        guarded=GUARDED,
        results=(done, stale),
        problems=(Problem("verification", "not all of it"),),
        traffic=Traffic(reads=3, writes=1),
    )
    document = report_document(finished)
    past = _past_run(
        finished=finished.finished,
        result=document["result"],
        exit_code=document["exit_code"],
        outcomes=document["outcomes"],
    )
    shown = past_report_document(past, [_past_change(ATTACH)], plan=document["plan"], report=document)
    assert shown == document
    assert list(shown) == list(document)


def test_a_run_that_was_cut_off_is_shown_by_what_was_found_out_since() -> None:
    """Its plan was recorded before the first write; its requests are not known."""
    unknown = _past_change(DETACH, outcome=None, attempts=0, request_id=None)
    shown = past_report_document(_past_run(), [_past_change(ATTACH), unknown], plan=PLAN, report=None)
    assert shown["changes"] == [
        {"action": "attach", "driver": A, "fleet": VANS, **MADE},
        {"action": "detach", "driver": B, "fleet": DEPOT, **dict.fromkeys(MADE), "attempts": 0},
    ]
    assert (shown["format"], shown["run"], shown["plan"]) == ("fleet-sync/report@1", "run_1", PLAN)
    assert (shown["result"], shown["exit_code"], shown["finished"], shown["error"]) == (None,) * 4
    assert shown["outcomes"] == {"applied": 1, **ZEROS}
    assert set(shown["requests"]) == {"reads", "writes", "retries", "rate_limited"}
    assert set(shown) == set(report_document(Report(RunId("run_1"), worlds.NOW, worlds.NOW, None)))


@pytest.mark.parametrize(
    ("approval", "shown"),
    [
        (PastApproval("sha256:ab", "Ada", worlds.NOW), ("Ada", "2026-10-05T08:00:00.000Z")),
        (PastApproval("sha256:ab"), (None, None)),
    ],
)
def test_a_past_run_says_which_approval_it_used_up(approval: PastApproval, shown: tuple[object, object]) -> None:
    past = _past_run(approval=approval)
    document = {"digest": "sha256:ab", **dict(zip(("by", "approved"), shown, strict=True))}
    assert past_run_document(past)["approval"] == document
    assert past_report_document(past, (), plan=PLAN, report=None)["approval"] == document


def test_a_plan_without_held_changes_has_no_digest_to_approve() -> None:
    document = plan_document(dataclasses.replace(GUARDED, held=(), shrunk=()))
    assert document["held_digest"] is None
    assert PLAN["held_digest"] == held_digest(GUARDED.account, (held.change for held in GUARDED.held), GUARDED.shrunk)


def test_the_changes_of_a_driver_are_a_document_with_names() -> None:
    past = PastChange(
        run=RunId("run_1"),
        trigger="once",
        recorded=worlds.NOW,
        key=IntentKey("key"),
        change=ATTACH,
        outcome="applied",
        attempts=1,
        request_id="req_1",
        code=None,
        message=None,
    )
    document = past_changes_document(A, [past, dataclasses.replace(past, change=DETACH)], names=NAMES)
    assert (document["driver"], document["names"]) == (A, NAMES)
    first, second = document["changes"]
    assert (first["run"], first["recorded"], first["origin"]) == (
        "run_1",
        "2026-10-05T08:00:00.000Z",
        "membership.yaml:4:9",
    )
    assert second["origin"] is None
