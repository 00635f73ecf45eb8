"""When an account runs next, by how its last run ended.

Invariant: a failed run is repeated within the interval or five minutes, and at once if it stopped because its source
changed. Neighbours: `scheduler` waits so long, `cluster_run` leaves it with the account.
"""

import contextlib
import dataclasses
import datetime
import random

from worker.core.model.errors import JournalError
from worker.core.model.outcomes import is_superseded
from worker.core.model.ports import Journal
from worker.core.model.report import Report, RunResult, Traffic
from worker.core.monitoring import status
from worker.core.pacing import retry_policy, spread
from worker.core.safety import refusal_backoff
from worker.settings import model


@dataclasses.dataclass(frozen=True, slots=True)
class LastRun:
    """How the last run ended, as far as the next one depends on it.

    `failures` are the failed runs in a row; at `boundary` a row of the sources begins or ends, and at `retry` a change
    that Charge refused may be tried again.
    """

    failures: int = 0
    superseded: bool = False
    boundary: datetime.datetime | None = None
    retry: datetime.datetime | None = None


def failures_after(finished: Report, before: int) -> int:
    """Return the failed runs in a row, of which there were so many before this run."""
    if isinstance(finished.error, JournalError) and finished.traffic == Traffic():
        # Growing pauses spare Charge, which was asked nothing; they would delay the recovery of a cut network.
        return 1
    return before + 1 if finished.result is RunResult.FAILED else 0


def was_superseded(finished: Report) -> bool:
    """Return whether the run left changes out because a source changed meanwhile."""
    return any(is_superseded(result.outcome) for result in finished.results)


async def find_retry(record: Journal, finished: Report) -> datetime.datetime | None:
    """Return when the next of the changes that Charge refused may be tried again, or None."""
    if finished.guarded is None:
        return None
    changes = [*finished.guarded.changes, *(held.change for held in finished.guarded.held)]
    with contextlib.suppress(JournalError):  # the next run reports it
        refusals = await record.refusals({change.driver for change in changes})
        return refusal_backoff.next_due(changes, refusals, planned=finished.guarded.created, now=finished.finished)
    return None


def next_due(
    last: LastRun, settings: model.Settings, *, now: datetime.datetime, retry_spread: float
) -> tuple[float, status.Trigger]:
    """Return the seconds until the next run is due, and the trigger that it will have.

    `retry_spread` is the fraction by which pauses after failed runs may be shorter, and 0 for one account alone.
    """
    sync = settings.sync
    if last.failures:
        delay = retry_policy.delay_after_failed_run(last.failures, interval=sync.interval_seconds)
        if retry_spread:
            delay = min(delay, sync.interval_seconds)  # after an outage no account waits longer than it always does
        return spread.shortened(delay, random.random(), fraction=retry_spread), status.Trigger.RETRY  # noqa: S311
    if last.superseded:
        return 0.0, status.Trigger.SOURCE
    jitter = sync.interval_jitter * random.uniform(-1, 1)  # noqa: S311 - spreads load, no secret
    due = [(sync.interval_seconds * (1 + jitter), status.Trigger.INTERVAL)]
    moments = ((last.boundary, status.Trigger.BOUNDARY), (last.retry, status.Trigger.RETRY))
    due += [((moment - now).total_seconds(), trigger) for moment, trigger in moments if moment is not None]
    return min(due, key=lambda each: each[0])
