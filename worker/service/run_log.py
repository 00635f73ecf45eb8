"""What the service logs of its runs: one line for a quiet one, and otherwise what an operator reads as a diary.

Invariant: what is known already is not told again. Neighbours: `loop` calls this, `engine.apply` logs the changes.
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
    """Remembers which problems it told."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._told: frozenset[Problem] = frozenset()

    def began(self, plan_result: plan_builder.PlanResult, *, run: RunId, trigger: str) -> None:
        """Tell of a run that has something to do."""
        guarded = plan_result.guarded
        if guarded.changes:
            log.info("run_started", run=run, trigger=trigger, changes=len(guarded.changes), held=len(guarded.held))

    def ended(self, finished: Report, *, trigger: str) -> None:
        """Tell how a run ended, with its figures, and of problems that are new."""
        problems = frozenset((*(finished.guarded.problems if finished.guarded else ()), *finished.problems))
        if finished.guarded is not None:
            for problem in sorted(problems - self._told):
                level = logging.INFO if problem.note else logging.WARNING
                log.log(level, "problem", where=problem.where, message=problem.message)
            self._told = problems
        fields: dict[str, object] = {name: count for name, count in finished.counts.items() if count}
        if finished.guarded is not None:
            fields |= {"in_sync": finished.guarded.in_sync, "held": len(finished.guarded.held)}
            if finished.guarded.held:
                fields["digest"] = finished.remaining_digest
            if count := sum(not problem.note for problem in problems):
                fields["problems"] = count
        if finished.error is not None:
            error = finished.error
            fields |= {"error": error.message, "code": error.code, "remedy": error.remedy}
        wanted = isinstance(finished.error, Stopped)  # by the operator
        log.log(
            logging.WARNING if wanted else _LEVELS.get(finished.result, logging.INFO),
            "run_finished",
            run=finished.run,
            trigger=trigger,
            result=finished.result.value,
            seconds=round((finished.finished - finished.started).total_seconds(), 3),
            reads=finished.traffic.reads,
            writes=finished.traffic.writes,
            **fields,
        )
