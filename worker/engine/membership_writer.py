"""Sends journalled writes, one at a time, and finds out what became of each.

Invariants: nothing is sent by a process that may no longer write to the journal, or after its source changed, and no
detach by a clock that is not trusted; only a GET that was sent after the last attempt proves the effect of an unclear
write; "not made" is said only of a write that certainly had no effect. Neighbours: `driver_lane` decides which write
comes next, `request_executor` sends it.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import assert_never

import structlog

from worker.core.model.errors import (
    ChangeWithheld,
    ChargeError,
    Conflict,
    FleetSyncError,
    JournalError,
    KeyForbidden,
    KeyRejected,
    NotFound,
    ProcessSuspended,
    RequestRefused,
    ServerFault,
    StillProcessing,
    Stopped,
    Unreachable,
)
from worker.core.model.identifiers import DriverId
from worker.core.model.outcomes import (
    NOT_CONVERGING,
    Already,
    Applied,
    Deferred,
    Outcome,
    Refused,
    Stale,
    Unknown,
)
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent
from worker.core.model.replies import WriteReply
from worker.core.safety import driver_state, forbidden_writes
from worker.engine import pause_watch, request_executor, run_context, source_watch

log = structlog.get_logger()


@dataclasses.dataclass(slots=True)
class PendingWrite:
    """An intent on its way to its outcome. A `repair` is not in the plan."""

    intent: Intent
    repair: bool = False
    attempts: request_executor.Attempts = dataclasses.field(
        default_factory=lambda: request_executor.Attempts(write=True)
    )
    outcome: Outcome | None = None

    @property
    def done(self) -> bool:
        """Return whether the membership is known to be as the change intended."""
        return isinstance(self.outcome, Applied | Already)


class MembershipWriter:
    """Sends the writes of one run."""

    def __init__(
        self,
        context: run_context.RunContext,
        sources: source_watch.SourceWatch,
        statuses: Mapping[str, str],
        names: Mapping[str, str],
        pauses: pause_watch.PauseWatch,
        *,
        dated: Collection[Change],
    ) -> None:
        """Take the run, and the watches over its sources and over pauses.

        `statuses` are those of the drivers and fleets that are not active: they may explain a refusal. `names` are
        logged beside ids. `dated` are attaches that only rows with dates ask for.
        """
        self._charge = context.charge
        self._journal = context.journal
        self._executor = context.executor
        self._cancellation = context.cancellation
        self._uptime = context.clock.uptime
        self._wall_clock = context.wall_clock
        self._sources = sources
        self._pauses = pauses
        self._statuses = statuses
        self._names = names
        self._dated = frozenset(dated)
        self.forbidden = forbidden_writes.ForbiddenWrites()
        """Decides what 403s mean. The applier replaces it by one that knows all fleets of the run."""

    async def write(
        self,
        pending: PendingWrite,
        state: driver_state.DriverState,
        *,
        check_proof: Callable[[], None] = lambda: None,
        urgent: bool = False,
    ) -> Outcome:
        """Send one write until its outcome is known, or cannot be.

        `check_proof` is called after each turn, right before the attempt, and may raise to stop it.
        """
        change, attempts = pending.intent.change, pending.attempts

        async def ready() -> None:
            await self._check_writer()
            self._check_withheld(change)  # last, because all of this may change while the journal is asked
            check_proof()
            state.mark_written()

        try:
            self._check_withheld(change)  # before waiting for a turn that would not be used
            reply = await self._executor.execute(
                lambda: self._charge.write(change, key=pending.intent.key), attempts, ready=ready, urgent=urgent
            )
        except (Stopped, ProcessSuspended, JournalError, KeyRejected, KeyForbidden) as error:
            return interrupted(attempts, error)
        except ChangeWithheld as error:
            if not attempts.maybe_applied:
                return unsent(attempts, error.code, error.message)
            return await self._settle(change, attempts, ServerFault(error.message, code=error.code), state)
        except ChargeError as error:
            return await self._after_failure(change, attempts, error, state)
        return await self._after_reply(change, attempts, reply, state)

    async def _after_reply(
        self,
        change: Change,
        attempts: request_executor.Attempts,
        reply: WriteReply,
        state: driver_state.DriverState,
    ) -> Outcome:
        """Return the outcome of a write that Charge accepted, after a reading unless the reply shows it."""
        self.forbidden.accept(change.fleet)
        if not attempts.maybe_applied:
            state.add_reply(reply.driver.fleets)
            if change.done_in(reply.driver.fleets):
                return Applied(attempts.count, reply.request_id)
        # The reply to a retry may be a stored one: the driver as it was when the first attempt arrived. Only a GET sent
        # after this point proves anything.
        attempts.maybe_applied = True
        accepted = Unreachable("Charge accepted the change", code=NOT_CONVERGING, request_id=reply.request_id)
        return await self._settle(change, attempts, accepted, state)

    async def _after_failure(
        self,
        change: Change,
        attempts: request_executor.Attempts,
        error: ChargeError,
        state: driver_state.DriverState,
    ) -> Outcome:
        """Return the outcome of a write whose last attempt failed, after reading the driver if that is needed."""
        self._count_forbidden(change, error)
        gone = isinstance(error, NotFound) and change.action is Action.DETACH
        if attempts.maybe_applied or gone or isinstance(error, Conflict):
            return await self._settle(change, attempts, error, state)
        return self._not_made(change, attempts, error)

    def withheld(self, pending: PendingWrite) -> Outcome | None:
        """Return the outcome of a change that must not be sent any more, or None."""
        try:
            self._check_withheld(pending.intent.change)
        except ChangeWithheld as error:
            return unsent(pending.attempts, error.code, error.message)
        return None

    async def read(self, driver: DriverId, state: driver_state.DriverState) -> float:
        """Retrieve a driver, add the reading to the driver's state, and return the uptime when the request was sent.

        Raises errors.FleetSyncError.
        """
        sent = 0.0

        async def ready() -> None:
            nonlocal sent
            sent = self._uptime()

        try:
            shown = await self._executor.execute(lambda: self._charge.driver(driver), ready=ready)
        except NotFound:
            state.mark_deleted()
            raise
        state.add_reading(shown.fleets)
        return sent

    def _check_withheld(self, change: Change) -> None:
        self._sources.check(change)
        self._pauses.check(change)
        self._wall_clock.check(change, dated=change in self._dated)
        if self.forbidden.blame_fleet(change.fleet):
            message = f"Charge answered {forbidden_writes.MAX_IN_A_ROW} writes to this fleet in a row with 403"
            raise ChangeWithheld(message, code="fleet_forbidden")

    async def _check_writer(self) -> None:
        """Stop the run if the journal belongs to another writer by now, or if the process was suspended."""
        try:
            await self._journal.check()
        except JournalError as error:
            self._cancellation.request_stop(error)
            raise
        self._cancellation.heartbeat()
        self._cancellation.check()  # last: a stop that was requested while the journal was asked counts

    def _count_forbidden(self, change: Change, error: ChargeError) -> None:
        """Stop the run if the key is forbidden to write at all, rather than to write to one driver or fleet."""
        self.forbidden.fail(change.fleet, forbidden=error.status == 403)
        if self.forbidden.blame_key:
            message = f"Charge answered {forbidden_writes.MAX_IN_A_ROW} writes in a row with 403: {error.message}"
            self._cancellation.request_stop(KeyForbidden(message, status=403, request_id=error.request_id))

    async def _settle(
        self,
        change: Change,
        attempts: request_executor.Attempts,
        cause: ChargeError,
        state: driver_state.DriverState,
    ) -> Outcome:
        """Find out by reading the driver what became of a write."""
        try:
            await self.read(change.driver, state)
        except NotFound as error:
            if change.action is Action.DETACH:
                return Already(attempts.count, cause.request_id, "the driver no longer exists")
            return Refused(attempts.count, error.code, error.message, error.request_id)
        except FleetSyncError as error:
            message = f"{cause.message}; the effect could not be read: {error.message}"
            return Unknown(attempts.count, cause.code, message, cause.request_id)
        if not state.shows(change):
            return self._not_shown(change, attempts, cause)
        if attempts.maybe_applied:
            return Applied(attempts.count, cause.request_id, "confirmed by reading the driver")
        return Already(attempts.count, cause.request_id, "another client had made the change")

    def not_converging(self, change: Change, attempts: int, request_id: str | None) -> Unknown:
        """Return the outcome of a write that Charge accepted and that no reading shows."""
        message = "Charge accepted the change, but a later reading does not show it"
        return Unknown(attempts, NOT_CONVERGING, self._explain(message, change), request_id)

    def _not_shown(self, change: Change, attempts: request_executor.Attempts, cause: ChargeError) -> Outcome:
        """Return the outcome of a write that a reading does not show."""
        if cause.code == NOT_CONVERGING:
            return self.not_converging(change, attempts.count, cause.request_id)
        if attempts.maybe_applied or isinstance(cause, StillProcessing):
            message = f"{cause.message}; a reading does not show the change, but it may still take effect"
            return Unknown(attempts.count, cause.code, message, cause.request_id)
        return self._not_made(change, attempts, cause)

    def _not_made(self, change: Change, attempts: request_executor.Attempts, cause: ChargeError) -> Outcome:
        """Return the outcome of a write that certainly had no effect."""
        if isinstance(cause, RequestRefused):
            message = self._explain(cause.message, change)
            return Refused(attempts.count, cause.code, message, cause.request_id)
        return Deferred(attempts.count, cause.code, f"{cause.message}; not made", cause.request_id)

    def log_outcome(self, change: Change, outcome: Outcome) -> None:
        """Log what became of a change, as a warning if it was not made."""
        event = f"membership_{change.action}"
        named = (("driver", change.driver), ("fleet", change.fleet))
        fields: dict[str, object] = {
            name: value
            for what, id in named
            for name, value in ((what, id), (f"{what}_name", self._names.get(id)))
            if value
        }
        fields["outcome"] = outcome.name
        match outcome:
            case Applied() | Already():
                log.info(event, **fields, attempts=outcome.attempts, request_id=outcome.request_id)
            case Stale():
                log.warning(event, **fields, message=outcome.message)
            case Refused() | Deferred() | Unknown():
                fields |= {"attempts": outcome.attempts, "request_id": outcome.request_id}
                log.warning(event, **fields, code=outcome.code, message=outcome.message)
            case _:
                assert_never(outcome)

    def _explain(self, message: str, change: Change) -> str:
        """Add the statuses that may be the reason. Nothing is concluded from them: Charge may think otherwise."""
        named = (("driver", change.driver), ("fleet", change.fleet))
        return "; ".join(
            [message, *(f"the {what} is {self._statuses[each]}" for what, each in named if each in self._statuses)]
        )


def unsent(attempts: request_executor.Attempts, code: str, message: str) -> Deferred:
    """Return the outcome of a write that is not sent (again)."""
    return Deferred(attempts.count, code, f"{message}; not sent")


def unless_unclear(attempts: request_executor.Attempts, outcome: Outcome) -> Outcome:
    """Return the outcome, or `Unknown` in place of `Deferred` where an earlier attempt may still take effect."""
    if not isinstance(outcome, Deferred) or not attempts.maybe_applied:
        return outcome
    message = f"{outcome.message}; an earlier attempt may still take effect"
    return Unknown(attempts.count, outcome.code, message, outcome.request_id)


def interrupted(attempts: request_executor.Attempts, reason: FleetSyncError | None) -> Outcome:
    """Return the outcome of a write that the end of the run interrupted."""
    code, message = ("stopped", "the run ended") if reason is None else (reason.code, reason.message)
    if attempts.count == 0:
        return Deferred(0, code, f"not sent: {message}")
    if attempts.maybe_applied:
        return Unknown(attempts.count, code, f"sent, but without a clear answer before the end: {message}")
    return Deferred(attempts.count, code, f"not made: {message}")
