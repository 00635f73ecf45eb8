"""Sums a run up: which result, which exit code, which figures.

Invariant: the exit code follows from the report alone; 1 before 4 before 3. Neighbours: `outcomes` are what is summed,
`formats` writes the report down.
"""

import collections
import dataclasses
import datetime
import enum
from collections.abc import Mapping

from worker.core import digest, errors, outcomes, values


class Verdict(enum.StrEnum):
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

    run: values.RunId
    started: datetime.datetime
    finished: datetime.datetime
    judged: values.Judged | None
    results: tuple[outcomes.Result, ...] = ()
    problems: tuple[values.Problem, ...] = ()
    traffic: Traffic = Traffic()
    error: errors.FleetSyncError | None = None

    @property
    def counts(self) -> Mapping[str, int]:
        """Count the outcomes; every name is there."""
        counted = collections.Counter(result.outcome.name for result in self.results)
        return {name: counted[name] for name in outcomes.NAMES}

    @property
    def verdict(self) -> Verdict:
        """Tell how the run ended."""
        if self.error is not None or self.judged is None:
            return Verdict.FAILED
        if self.judged.unsettled or any(not result.done for result in self.results):
            return Verdict.PARTIAL
        if self.judged.held:
            return Verdict.HELD
        return Verdict.CONVERGED if self.results else Verdict.IN_SYNC

    @property
    def digest_left(self) -> str:
        """Give the digest of what the run left of its plan, to approve what is held; empty without a plan."""
        if self.judged is None:
            return ""
        done = {result.change for result in self.results if result.done}
        if not done:
            return self.judged.digest
        left = (change for change in self.judged.changes if change not in done)
        return digest.digest(self.judged.account, left, (held.change for held in self.judged.held))

    @property
    def cut_short(self) -> bool:
        """Tell whether the run failed for nothing but that it, or its process, was stopped: the next one goes on."""
        return isinstance(self.error, errors.Stopped | errors.Paused)

    @property
    def exit_code(self) -> int:
        """Give the exit code: 0, 1, 3 or 4, or that of the error."""
        if self.error is not None:
            return self.error.exit_code
        return {Verdict.FAILED: 1, Verdict.PARTIAL: 4, Verdict.HELD: 3}.get(self.verdict, 0)


def plan_exit_code(judged: values.Judged, *, detailed: bool) -> int:
    """Give the exit code of `plan`: 4 and 3 as for a run; 2 for changes where they are asked for."""
    if judged.unsettled:
        return 4
    if judged.held:
        return 3
    return 2 if detailed and judged.changes else 0
