"""Sums a run up: which result, which exit code, which figures.

Invariant: the exit code follows from the report alone; 1 before 4 before 3. Neighbours: `outcomes` are what is summed,
`formats` writes the report down.
"""

import collections
import dataclasses
import datetime
import enum
from collections.abc import Mapping

from worker.core.model.errors import FleetSyncError, ProcessSuspended, Stopped
from worker.core.model.identifiers import RunId
from worker.core.model.outcomes import OUTCOME_NAMES, ChangeResult
from worker.core.model.plan import GuardedPlan
from worker.core.model.plan_digest import plan_digest
from worker.core.model.problem import Problem


class RunResult(enum.StrEnum):
    """How a run ended."""

    IN_SYNC = "in_sync"
    CONVERGED = "converged"
    HELD = "held"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that went over the wire; `reads` and `writes` include `retries`, and those answered with 429."""

    reads: int = 0
    writes: int = 0
    retries: int = 0
    rate_limited: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Everything about one run; `judged` is `None` where it failed before there was a plan."""

    run: RunId
    started: datetime.datetime
    finished: datetime.datetime
    guarded: GuardedPlan | None
    results: tuple[ChangeResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    traffic: Traffic = Traffic()
    error: FleetSyncError | None = None

    @property
    def counts(self) -> Mapping[str, int]:
        """Count the outcomes; every name is there."""
        counted = collections.Counter(result.outcome.name for result in self.results)
        return {name: counted[name] for name in OUTCOME_NAMES}

    @property
    def result(self) -> RunResult:
        """Tell how the run ended."""
        if self.error is not None or self.guarded is None:
            return RunResult.FAILED
        if self.guarded.unsettled or any(not result.done for result in self.results):
            return RunResult.PARTIAL
        if self.guarded.held:
            return RunResult.HELD
        return RunResult.CONVERGED if self.results else RunResult.IN_SYNC

    @property
    def remaining_digest(self) -> str:
        """Give the digest of what the run left of its plan, to approve what is held; empty without a plan."""
        if self.guarded is None:
            return ""
        done = {result.change for result in self.results if result.done}
        if not done:
            return self.guarded.digest
        left = (change for change in self.guarded.changes if change not in done)
        return plan_digest(self.guarded.account, left, (held.change for held in self.guarded.held))

    @property
    def was_interrupted(self) -> bool:
        """Tell whether the run failed for nothing but that it, or its process, was stopped: the next one goes on."""
        return isinstance(self.error, Stopped | ProcessSuspended)

    @property
    def exit_code(self) -> int:
        """Give the exit code: 0, 1, 3 or 4, or that of the error."""
        if self.error is not None:
            return self.error.exit_code
        return {RunResult.FAILED: 1, RunResult.PARTIAL: 4, RunResult.HELD: 3}.get(self.result, 0)


def plan_exit_code(guarded: GuardedPlan, *, detailed: bool) -> int:
    """Give the exit code of `plan`: 4 and 3 as for a run; 2 for changes where they are asked for."""
    if guarded.unsettled:
        return 4
    if guarded.held:
        return 3
    return 2 if detailed and guarded.changes else 0
