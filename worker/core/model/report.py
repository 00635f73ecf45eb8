"""The report of a run, with the result, exit code and counts that follow from it.

Invariant: the exit code follows from the report alone; of several, 1 wins over 4, and 4 over 3. Neighbours: `outcomes`
are what it counts, `serialization` writes it as JSON.
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
from worker.core.model.problem import Problem

_LEARNED_FOR = datetime.timedelta(hours=24)


class RunResult(enum.StrEnum):
    """How a run ended."""

    IN_SYNC = "in_sync"
    CONVERGED = "converged"
    OBSERVED = "observed"
    HELD = "held"
    PAUSED = "paused"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that were sent; `reads` and `writes` include `retries` and requests that were answered with 429."""

    reads: int = 0
    writes: int = 0
    retries: int = 0
    rate_limited: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class LearnedRate:
    """The requests a second that Charge's limit allows, as found by a run that ended at `at`."""

    requests_per_second: float
    at: datetime.datetime

    def is_fresh(self, now: datetime.datetime) -> bool:
        """Return whether it is less than a day old: after that, another limit may be in force."""
        return datetime.timedelta(0) <= now - self.at < _LEARNED_FOR


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Everything about one run; `guarded` is `None` if it failed before there was a plan.

    `paused` says that changes were left out because of a pause, `observed` that the settings forbid to make any.
    `learned_rate` is the requests a second that Charge's limit allows, if one was found; the journal keeps it for the
    next process, and no document shows it.
    """

    run: RunId
    started: datetime.datetime
    finished: datetime.datetime
    guarded: GuardedPlan | None
    results: tuple[ChangeResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    traffic: Traffic = Traffic()
    error: FleetSyncError | None = None
    paused: bool = False
    observed: bool = False
    learned_rate: float | None = None

    @property
    def counts(self) -> Mapping[str, int]:
        """Return how many changes had each outcome, zeros included."""
        counted = collections.Counter(result.outcome.name for result in self.results)
        return {name: counted[name] for name in OUTCOME_NAMES}

    @property
    def result(self) -> RunResult:
        """Return how the run ended."""
        if self.error is not None or self.guarded is None:
            return RunResult.FAILED
        if self.paused and not self.results:
            return RunResult.PAUSED
        if self.guarded.unsettled or not all(result.done for result in self.results):
            return RunResult.PARTIAL
        if not all(problem.note for problem in self.problems):
            return RunResult.PARTIAL  # a driver that this run changed is not where the sources want it
        if self.guarded.needs_approval:
            return RunResult.HELD
        if self.observed and self.guarded.changes:
            return RunResult.OBSERVED
        if self.paused:
            return RunResult.PAUSED
        return RunResult.CONVERGED if self.results else RunResult.IN_SYNC

    @property
    def held_digest(self) -> str:
        """Return the digest of the held changes, for `approve`; empty without any."""
        return self.guarded.held_digest if self.guarded else ""

    @property
    def was_interrupted(self) -> bool:
        """Return whether the run failed only because it or its process was stopped; the next run continues."""
        return isinstance(self.error, Stopped | ProcessSuspended)

    @property
    def exit_code(self) -> int:
        """Return 0, 1, 3 or 4, or the exit code of the error."""
        if self.error is not None:
            return self.error.exit_code
        return {RunResult.FAILED: 1, RunResult.PARTIAL: 4, RunResult.HELD: 3}.get(self.result, 0)


def plan_exit_code(guarded: GuardedPlan, *, detailed: bool) -> int:
    """Return the exit code of `plan`: 4 and 3 as for a run, and with `detailed` 2 if there are changes."""
    if guarded.unsettled:
        return 4
    if guarded.needs_approval:
        return 3
    return 2 if detailed and guarded.changes else 0
