"""What is logged of runs: each problem once, and how a run ended as loudly as it concerns an operator."""

import dataclasses
import datetime
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, cast

import pytest
import structlog

from tests.support import clocks, doubles
from worker.core.model.errors import FleetSyncError, Stopped, Unreachable
from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.outcomes import Applied, ChangeResult, Refused
from worker.core.model.plan import Action, Change, GuardedPlan, HeldChange
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.report import Report, Traffic
from worker.core.model.source_history import ShrunkSource
from worker.engine import plan_builder
from worker.service import run_log

CHANGE = Change(Action.ATTACH, DriverId("drv_A"), FleetId("flt_V"))
PLAN = doubles.guarded([CHANGE])
SECOND = datetime.timedelta(seconds=1)
UNRESOLVED = Problem("a.csv:2:1", "no such driver", code=ProblemCode.UNRESOLVED_DRIVER, remedy="Correct it.")
HARMLESS = Problem("a.csv:3:1", "listed twice", note=True, code=ProblemCode.DUPLICATE_ROW)

Line = MutableMapping[str, Any]


def report(guarded: GuardedPlan | None = PLAN, **fields: object) -> Report:
    """Make the report of a run that took 1.5 s."""
    base = Report(RunId("run_1"), clocks.NOON, clocks.NOON + 1.5 * SECOND, guarded, traffic=Traffic(7, 3))
    return dataclasses.replace(base, **fields)  # type: ignore[arg-type]


def ended(log: run_log.RunLog, finished: Report) -> list[Line]:
    """Return what is logged of the end of a run."""
    with structlog.testing.capture_logs() as lines:
        log.ended(finished, trigger="schedule")
    return list(lines)


def test_a_problem_is_logged_when_it_first_appears_and_again_when_it_comes_back() -> None:
    log, bad, good = run_log.RunLog(), dataclasses.replace(PLAN, problems=(UNRESOLVED,)), PLAN
    lost = Problem("drv_A", "not in fleet flt_V", code=ProblemCode.NOT_AS_WANTED)
    runs = [report(bad), report(bad), report(bad, problems=(lost,)), report(good), report(bad)]
    logged = [[line["where"] for line in ended(log, each) if line["event"] == "problem"] for each in runs]
    assert logged == [["a.csv:2:1"], [], ["drv_A"], [], ["a.csv:2:1"]]


def test_a_run_that_failed_before_its_plan_changes_nothing_about_what_is_known() -> None:
    log, bad = run_log.RunLog(), report(dataclasses.replace(PLAN, problems=(UNRESOLVED,)))
    failed = report(None, error=Unreachable("no answer"), problems=(HARMLESS,))
    logged = [[line["event"] for line in ended(log, each)] for each in (bad, failed, bad)]
    assert logged == [["problem", "run_finished"], ["run_finished"], ["run_finished"]]


def test_problems_come_in_their_order_notes_as_such_with_code_and_remedy() -> None:
    earlier = Problem("a.csv:1:1", "no such fleet", code=ProblemCode.UNRESOLVED_FLEET)
    found = ended(run_log.RunLog(), report(dataclasses.replace(PLAN, problems=(HARMLESS, UNRESOLVED, earlier))))
    assert found[:-1] == [
        {"event": "problem", "log_level": "warning", "code": "unresolved_fleet", "where": "a.csv:1:1"}
        | {"message": "no such fleet"},
        {"event": "problem", "log_level": "warning", "code": "unresolved_driver", "where": "a.csv:2:1"}
        | {"message": "no such driver", "remedy": "Correct it."},
        {"event": "problem", "log_level": "info", "code": "duplicate_row", "where": "a.csv:3:1"}
        | {"message": "listed twice"},
    ]
    assert found[-1]["problems"] == 2


APPLIED = (ChangeResult(CHANGE, Applied(1, "req_1")),)
REFUSED = (ChangeResult(CHANGE, Refused(1, "invalid", "no")),)
HELD = dataclasses.replace(PLAN, changes=(), held=(HeldChange(CHANGE, "max_detach_fraction", "too many"),))
SHRUNK = dataclasses.replace(PLAN, changes=(), shrunk=(ShrunkSource("a.csv", 1, 9, "it lost 8 rows"),))


@pytest.mark.parametrize(
    ("finished", "level", "fields"),
    [
        (report(results=APPLIED), "info", {"result": "converged", "applied": 1, "in_sync": 0, "held": 0}),
        (report(results=REFUSED), "warning", {"result": "partial", "refused": 1, "in_sync": 0, "held": 0}),
        (report(HELD), "warning", {"result": "held", "held": 1, "in_sync": 0, "digest": HELD.held_digest}),
        (
            report(SHRUNK),
            "warning",
            {"result": "held", "held": 0, "in_sync": 0, "digest": SHRUNK.held_digest, "shrunk": ["a.csv"]},
        ),
    ],
)
def test_the_end_of_a_run_is_logged_with_its_counts(finished: Report, level: str, fields: Mapping[str, object]) -> None:
    common = {"event": "run_finished", "run": "run_1", "trigger": "schedule", "seconds": 1.5, "reads": 7, "writes": 3}
    assert ended(run_log.RunLog(), finished) == [{**common, "log_level": level, **fields}]


@pytest.mark.parametrize(
    ("error", "level"),
    [(Unreachable("no answer", code="unreachable"), "error"), (Stopped("ended by SIGTERM", exit_code=143), "warning")],
)
def test_an_error_is_logged_with_its_remedy_and_a_requested_stop_is_none(error: FleetSyncError, level: str) -> None:
    (line,) = ended(run_log.RunLog(), report(None, error=error))
    assert (line["log_level"], line["result"]) == (level, "failed")
    assert (line["error"], line["code"], line["remedy"]) == (error.message, error.code, error.remedy)
    assert "held" not in line and "in_sync" not in line


@pytest.mark.parametrize(("changes", "events"), [((CHANGE,), ["run_started"]), ((), [])])
def test_the_start_is_logged_of_a_run_that_has_changes_to_make(changes: Sequence[Change], events: list[str]) -> None:
    result = cast("plan_builder.PlanResult", type("Result", (), {"guarded": doubles.guarded(changes)}))
    with structlog.testing.capture_logs() as lines:
        run_log.RunLog().planned(result, run=RunId("run_1"), trigger="start")
    assert [line["event"] for line in lines] == events
    assert all((line["run"], line["changes"], line["held"]) == ("run_1", 1, 0) for line in lines)
