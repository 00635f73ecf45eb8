"""What the service logs of its runs: one line for a quiet one, and otherwise what an operator reads as a diary.

Invariant: what is known already is not told again. Neighbours: `loop` calls this, `engine.apply` logs the changes.
"""

import logging

import structlog

from worker.core import errors, report, values
from worker.engine import survey as survey_

log = structlog.get_logger()

_LEVELS = {
    report.Verdict.FAILED: logging.ERROR,
    report.Verdict.PARTIAL: logging.WARNING,
    report.Verdict.HELD: logging.WARNING,
}


class Diary:
    """Remembers which problems it told."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._told: frozenset[values.Problem] = frozenset()

    def began(self, survey: survey_.Survey, *, run: values.RunId, trigger: str) -> None:
        """Tell of a run that has something to do."""
        judged = survey.judged
        if judged.changes:
            log.info("run_started", run=run, trigger=trigger, changes=len(judged.changes), held=len(judged.held))

    def ended(self, finished: report.Report, *, trigger: str) -> None:
        """Tell how a run ended, with its figures, and of problems that are new."""
        problems = frozenset((*(finished.judged.problems if finished.judged else ()), *finished.problems))
        if finished.judged is not None:
            for problem in sorted(problems - self._told):
                level = logging.INFO if problem.note else logging.WARNING
                log.log(level, "problem", where=problem.where, message=problem.message)
            self._told = problems
        fields: dict[str, object] = {name: count for name, count in finished.counts.items() if count}
        if finished.judged is not None:
            fields |= {"in_sync": finished.judged.in_sync, "held": len(finished.judged.held)}
            if finished.judged.held:
                fields["digest"] = finished.digest_left
            if count := sum(not problem.note for problem in problems):
                fields["problems"] = count
        if finished.error is not None:
            error = finished.error
            fields |= {"error": error.message, "code": error.code, "remedy": error.remedy}
        wanted = isinstance(finished.error, errors.Stopped)  # by the operator
        log.log(
            logging.WARNING if wanted else _LEVELS.get(finished.verdict, logging.INFO),
            "run_finished",
            run=finished.run,
            trigger=trigger,
            result=finished.verdict.value,
            seconds=round((finished.finished - finished.started).total_seconds(), 3),
            reads=finished.traffic.reads,
            writes=finished.traffic.writes,
            **fields,
        )
