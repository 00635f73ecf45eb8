"""Makes the changes of a judged plan: one lane a driver, attaches before detaches, every write journalled.

Invariants: no write is sent whose intent is not in the journal; a driver's detaches wait where one of its attaches did
not succeed; every change gets exactly one outcome; a write without a clear answer is settled by reading the driver.
Neighbours: `sending` paces and retries, `recorder` journals outcomes, `cycle` calls this.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import assert_never

import anyio
import structlog

from worker.core.model.errors import (
    ChargeError,
    Conflict,
    FleetSyncError,
    JournalError,
    KeyRejected,
    NotFound,
    ProcessSuspended,
    RequestRefused,
    ServerFault,
    StillProcessing,
    Stopped,
)
from worker.core.model.identifiers import FleetId, IntentKey
from worker.core.model.outcomes import Already, Applied, ChangeResult, Deferred, Outcome, Refused, Stale, Unknown
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Charge, Intent, Journal, Progress, Stage
from worker.core.safety import attach_first
from worker.engine import concurrency, outcome_writer, request_executor

log = structlog.get_logger()


@dataclasses.dataclass(slots=True)
class _Work:
    """An intent on its way to its outcome."""

    intent: Intent
    attempts: request_executor.Attempts = dataclasses.field(
        default_factory=lambda: request_executor.Attempts(write=True)
    )
    outcome: Outcome | None = None


class Applier:
    """Applies for one run."""

    def __init__(
        self,
        *,
        charge: Charge,
        executor: request_executor.RequestExecutor,
        journal: Journal,
        progress: Progress,
        concurrency: int,
        new_key: Callable[[], IntentKey],
    ) -> None:
        """Take the API, the run's sender, the journal, and a source of keys of which no two are alike."""
        self._charge = charge
        self._executor = executor
        self._journal = journal
        self._progress = progress
        self._concurrency = concurrency
        self._new_key = new_key

    def intend(self, changes: Sequence[Change]) -> list[Intent]:
        """Give every change a key of its own. The intents are to be journalled before they are applied."""
        return [Intent(self._new_key(), change) for change in changes]

    async def apply(self, intents: Sequence[Intent]) -> tuple[ChangeResult, ...]:
        """Make every change, or say of it why not; results are in the order of the intents.

        Whatever goes wrong is told by the outcomes and by the halt's reason.
        """
        work = [_Work(intent) for intent in intents]
        self._progress.stage(Stage.CHANGING_MEMBERSHIPS, len(work))
        record = outcome_writer.OutcomeWriter(journal=self._journal, run_cancellation=self._executor.run_cancellation)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(record.flush_regularly)
            with self._executor.run_cancellation.writing():
                lane = functools.partial(self._lane, record=record)
                await concurrency.run_bounded(lane, _lanes(work), limit=self._concurrency)
            for each in work:
                if each.outcome is None:
                    self._finish(each, _cut_off(each.attempts, self._executor.run_cancellation.reason), record)
            tasks.cancel_scope.cancel()
        await record.flush()
        return tuple(ChangeResult(each.intent.change, each.outcome) for each in work if each.outcome is not None)

    async def _lane(self, lane: Sequence[_Work], *, record: outcome_writer.OutcomeWriter) -> None:
        """Make one driver's changes in order."""
        missing: FleetId | None = None
        for work in lane:
            change = work.intent.change
            if change.action is Action.DETACH and missing is not None:
                outcome: Outcome = attach_first.deferred_detach(missing)
            else:
                outcome = await self._write(work.intent, work.attempts)
            if change.action is Action.ATTACH and not isinstance(outcome, Applied | Already):
                missing = change.fleet
            self._finish(work, outcome, record)

    def _finish(self, work: _Work, outcome: Outcome, record: outcome_writer.OutcomeWriter) -> None:
        """Note the outcome of a change; where it is unknown the intent stays open, for the next run to settle."""
        work.outcome = outcome
        if not isinstance(outcome, Unknown):
            record.add(work.intent.key, outcome)
        self._progress.step()
        _log(work.intent.change, outcome)

    async def _write(self, intent: Intent, attempts: request_executor.Attempts) -> Outcome:
        """Send one write until its outcome is known, or cannot be."""
        try:
            reply = await self._executor.send(
                lambda: self._charge.write(intent.change, key=intent.key), attempts, ready=self._still_ours
            )
        except (Stopped, ProcessSuspended, JournalError, KeyRejected) as error:
            return _cut_off(attempts, error)
        except ChargeError as error:
            if attempts.maybe_applied or isinstance(error, Conflict):
                return await self._settle(intent.change, attempts, error)
            return _not_made(attempts, error)
        if intent.change.done_in(reply.driver.fleets) and not attempts.maybe_applied:
            return Applied(attempts.count, reply.request_id)
        attempts.maybe_applied = True  # where it was already, the answer may be a replay of how things once were
        contradiction = ServerFault(
            "Charge answered that it was done, but shows the driver without it",
            code="reply_contradicts",
            request_id=reply.request_id,
        )
        return await self._settle(intent.change, attempts, contradiction)

    async def _still_ours(self) -> None:
        """Halt where the journal is no longer ours to write, or the process stood still for too long."""
        run_cancellation = self._executor.run_cancellation
        try:
            await self._journal.check()
        except JournalError as error:
            run_cancellation.request_stop(error)
            raise
        run_cancellation.heartbeat()
        run_cancellation.check()  # last: whatever happened while the journal was asked, counts

    async def _settle(self, change: Change, attempts: request_executor.Attempts, cause: ChargeError) -> Outcome:
        """Find out by reading the driver whether a write took effect."""
        try:
            driver = await self._executor.send(lambda: self._charge.driver(change.driver))
        except NotFound as error:
            return Refused(attempts.count, error.code, error.message, error.request_id)
        except FleetSyncError as error:
            message = f"{cause.message}; whether it took effect could not be read: {error.message}"
            return Unknown(attempts.count, cause.code, message, cause.request_id)
        if not change.done_in(driver.fleets):
            if isinstance(cause, StillProcessing):
                return Unknown(attempts.count, cause.code, cause.message, cause.request_id)
            return _not_made(attempts, cause)
        if attempts.maybe_applied or not isinstance(cause, Conflict):
            return Applied(attempts.count, cause.request_id, "settled by reading the driver")
        return Already(attempts.count, cause.request_id, "somebody else had made it")


def _lanes(work: Sequence[_Work]) -> list[list[_Work]]:
    """Part the changes by driver, attaches first; drivers in order."""
    ordered = sorted(work, key=lambda each: (each.intent.change.driver, each.intent.change.action))
    return [list(lane) for _, lane in itertools.groupby(ordered, key=lambda each: each.intent.change.driver)]


def _not_made(attempts: request_executor.Attempts, cause: ChargeError) -> Outcome:
    """Give the outcome of a write that certainly took no effect."""
    if isinstance(cause, RequestRefused):
        return Refused(attempts.count, cause.code, cause.message, cause.request_id)
    return Deferred(attempts.count, cause.code, f"{cause.message}; not made", cause.request_id)


def _cut_off(attempts: request_executor.Attempts, reason: FleetSyncError | None) -> Outcome:
    """Give the outcome of a write that the end of the run overtook."""
    code, message = ("stopped", "the run ended") if reason is None else (reason.code, reason.message)
    if attempts.count == 0:
        return Deferred(0, code, f"not sent: {message}")
    if attempts.maybe_applied:
        return Unknown(attempts.count, code, f"sent, without a clear answer before the end: {message}")
    return Deferred(attempts.count, code, f"not made: {message}")


def _log(change: Change, outcome: Outcome) -> None:
    fields: dict[str, object] = {"driver": change.driver, "fleet": change.fleet, "outcome": outcome.name}
    match outcome:
        case Applied() | Already():
            log.info(f"membership_{change.action}", **fields, attempts=outcome.attempts, request_id=outcome.request_id)
        case Stale():
            log.warning(f"membership_{change.action}", **fields, message=outcome.message)
        case Refused() | Deferred() | Unknown():
            fields |= {"attempts": outcome.attempts, "request_id": outcome.request_id}
            log.warning(f"membership_{change.action}", **fields, code=outcome.code, message=outcome.message)
        case _:
            assert_never(outcome)
