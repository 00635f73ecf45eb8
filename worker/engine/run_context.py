"""What every part of one run needs: who is asked, where it is recorded, and what the operator decided beforehand.

Invariant: made once for each run, and never changed. Neighbours: `service.composition` makes it, `wiring` builds the
parts of a run from it.
"""

import dataclasses
import datetime
from collections.abc import Callable

from worker.core.model.identifiers import FleetId, IntentKey, RunId
from worker.core.model.ports import Charge, Clock, Journal, Progress
from worker.engine import cancellation, clock_check, concurrency, request_executor


@dataclasses.dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run reads and writes.

    `page_size` is the number of objects on a page, 1 to 100. `concurrency` should not exceed the number of connections:
    a request that got its turn and then queued for a connection would go late, in a bunch. Fleets in `must_see` are
    read even where they are not managed. The journal keeps a finished run for `keep`, or forever. `late_effects` is
    how long after its last attempt an unclear write may still take effect.
    """

    page_size: int = 100
    concurrency: int = concurrency.DEFAULT_CONCURRENCY
    must_see: frozenset[FleetId] = frozenset()
    keep: datetime.timedelta | None = None
    late_effects: datetime.timedelta = datetime.timedelta(seconds=120)


@dataclasses.dataclass(frozen=True, slots=True)
class RunContext:
    """One run and its surroundings. Create it when the run begins.

    `new_key` returns idempotency keys, of which no two are alike. `compute` does what takes long for a large account.
    """

    run: RunId
    charge: Charge
    journal: Journal
    executor: request_executor.RequestExecutor
    clock: Clock
    progress: Progress
    new_key: Callable[[], IntentKey]
    options: RunOptions = RunOptions()
    compute: concurrency.Compute = concurrency.at_once
    wall_clock: clock_check.ClockCheck = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Note what the clocks show: the run begins now."""
        check = clock_check.ClockCheck(charge=self.charge, journal=self.journal, clock=self.clock)
        object.__setattr__(self, "wall_clock", check)

    @property
    def cancellation(self) -> cancellation.Cancellation:
        """Return the cancellation of this run."""
        return self.executor.cancellation
