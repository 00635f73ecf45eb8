"""Logs the runs of the service: one line for a run without changes, more where an operator needs to know more.

Invariant: a problem is logged when it first appears, not in every run. Neighbours: `scheduler` calls this;
`engine.applier` logs each change.
"""

import logging

import structlog

from worker.core.model.errors import Stopped
from worker.core.model.identifiers import RunId
from worker.core.model.problem import Problem
from worker.core.model.report import Report, RunResult
from worker.engine import plan_builder

log = structlog.get_logger()

_LEVELS = {
    RunResult.FAILED: logging.ERROR,
    RunResult.PARTIAL: logging.WARNING,
    RunResult.HELD: logging.WARNING,
}


class RunLog:
    """Logs runs, and remembers the problems of the last plan."""

    def __init__(self) -> None:
        """Start without known problems."""
        self._known: frozenset[Problem] = frozenset()

    def planned(self, plan_result: plan_builder.PlanResult, *, run: RunId, trigger: str) -> None:
        """Log the start of a run that has changes to apply."""
        guarded = plan_result.guarded
        if guarded.changes:
            log.info("run_started", run=run, trigger=trigger, changes=len(guarded.changes), held=len(guarded.held))

    def ended(self, finished: Report, *, trigger: str) -> None:
        """Log the end of a run with its counts, and the problems that are new."""
        problems = frozenset((*(finished.guarded.relevant_problems if finished.guarded else ()), *finished.problems))
        if finished.guarded is not None:
            for problem in sorted(problems - self._known):
                level = logging.INFO if problem.note else logging.WARNING
                fields = {"remedy": problem.remedy} if problem.remedy else {}
                message = problem.message
                log.log(level, "problem", code=problem.code.value, where=problem.where, message=message, **fields)
            self._known = problems
        is_requested_stop = isinstance(finished.error, Stopped)
        log.log(
            logging.WARNING if is_requested_stop else _LEVELS.get(finished.result, logging.INFO),
            "run_finished",
            run=finished.run,
            trigger=trigger,
            result=finished.result.value,
            seconds=round((finished.finished - finished.started).total_seconds(), 3),
            reads=finished.traffic.reads,
            writes=finished.traffic.writes,
            **_counts(finished, sum(not problem.note for problem in problems)),
        )


def _counts(finished: Report, problems: int) -> dict[str, object]:
    """Return the fields of `run_finished` that only some runs have."""
    fields: dict[str, object] = {name: count for name, count in finished.counts.items() if count}
    if finished.guarded is not None:
        fields |= {"in_sync": finished.guarded.in_sync, "held": len(finished.guarded.held)}
        if finished.guarded.shrunk:
            fields["shrunk"] = [each.name for each in finished.guarded.shrunk]
        if finished.guarded.needs_approval:
            fields["digest"] = finished.held_digest
        if problems:
            fields["problems"] = problems
    if finished.error is not None:
        error = finished.error
        fields |= {"error": error.message, "code": error.code, "remedy": error.remedy}
    return fields
