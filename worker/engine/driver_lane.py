"""Makes the changes of one driver in order: attaches, then detaches, each detach on fresh proof.

Invariants: a detach of a driver that the sources want in any fleet is sent only on a proof that the driver is in one of
them; if an attach is not made, or is never seen, the driver's detaches are deferred; a membership that another writer
removed during the run is restored once, or reported, and one that it added is reported. Neighbours: `applier` runs the
lanes side by side, `membership_writer` sends each write, `core.safety.driver_state` compares each reply with all that
is wanted.
"""

from collections.abc import Callable, Sequence

import structlog

from worker.core.model.errors import FleetSyncError, JournalError, NotFound
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.outcomes import NOT_CONVERGING, Already, Applied, ChangeResult, Outcome, Unknown
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent
from worker.core.model.problem import Problem, ProblemCode
from worker.core.safety import attach_first, driver_state, freshness
from worker.engine import membership_writer, outcome_writer, run_context
from worker.engine.membership_writer import PendingWrite

log = structlog.get_logger()

READ_BACK_DELAYS = (1.0, 2.0, 4.0, 8.0)
"""Seconds between repeated readings of what was accepted: a reading may lag behind a write."""

NOT_FRESH = "not_fresh"
"""The code of a detach whose proofs expired before it could be sent."""

NO_WANTED_FLEET = "no_wanted_fleet"
"""The code of a detach whose driver is in none of the fleets that the sources want."""


class _ProofExpired(Exception):
    """The proof is too old for the attempt that is about to be sent."""


class _NotProven(Exception):
    """There is no proof, so the detach is not sent. `outcome` is its outcome."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


class DriverLane:
    """The changes of one driver in one run."""

    def __init__(
        self,
        context: run_context.RunContext,
        writer: membership_writer.MembershipWriter,
        outcomes: outcome_writer.OutcomeWriter,
        *,
        driver: DriverId,
        pending: Sequence[PendingWrite],
        state: driver_state.DriverState,
    ) -> None:
        """Take the run's writers, the driver's changes, and what is known about the driver."""
        self.driver = driver
        self.pending = sorted(pending, key=lambda each: each.intent.change.action.rank)  # attaches first: see above
        self.state = state
        self._context = context
        self._writer = writer
        self._outcomes = outcomes
        self._unattached: FleetId | None = None

    async def run(self) -> None:
        """Make the changes. Whatever goes wrong is in their outcomes, and in the reason of the cancellation."""
        for pending in tuple(self.pending):
            if pending.intent.change.action is Action.ATTACH:
                await self._attach(pending)
            else:
                self._finish(pending, await self._detach(pending))
        if self._context.cancellation.reason is None:
            await self.repair_lost()

    @property
    def was_written(self) -> bool:
        """Return whether any request that could change the driver was sent."""
        return any(pending.attempts.count for pending in self.pending)

    @property
    def was_read_back(self) -> bool:
        """Return whether a reading, rather than only a reply, shows the driver after the last write."""
        return self.state.is_read

    def agrees_with(self, fleets: frozenset[FleetId]) -> bool:
        """Return whether a reading shows every change that was accepted, all that is wanted, and nothing unexpected."""
        accepted = all(pending.intent.change.done_in(fleets) for pending in self.pending if pending.done)
        as_wanted = not self.state.missing_in(fleets) and not self.state.unexpected_in(fleets)
        return accepted and as_wanted and not self._unclear

    @property
    def is_contradicted(self) -> bool:
        """Return whether the newest reply or reading since the last write shows other fleets than it should."""
        return self.state.is_current and not self.agrees_with(self.state.latest)

    @property
    def _unclear(self) -> bool:
        return any(isinstance(pending.outcome, Unknown) for pending in self.pending)

    @property
    def is_unconfirmed(self) -> bool:
        """Return whether Charge accepted a change that no reading shows."""
        outcomes = (pending.outcome for pending in self.pending)
        return any(isinstance(outcome, Unknown) and outcome.code == NOT_CONVERGING for outcome in outcomes)

    def results(self) -> list[ChangeResult]:
        """Return the outcome of each change, repairs included."""
        return [
            ChangeResult(pending.intent.change, pending.outcome, pending.repair)
            for pending in self.pending
            if pending.outcome is not None
        ]

    def interrupt(self, reason: FleetSyncError | None) -> None:
        """Set the outcome of every change that the end of the run left without one."""
        for pending in self.pending:
            if pending.outcome is None:
                self._finish(pending, membership_writer.interrupted(pending.attempts, reason))

    def conclude(self) -> None:
        """Correct the outcomes by the newest reading of the driver, if there is one since the last write."""
        if not self.state.is_current:
            return
        for pending in self.pending:
            outcome, shown = pending.outcome, self.state.shows(pending.intent.change)
            if isinstance(outcome, Unknown) and shown:
                message = "confirmed by a later reading"
                self._finish(pending, Applied(outcome.attempts, outcome.request_id, message))
            elif isinstance(outcome, Applied | Already) and outcome.attempts and not shown:
                self._finish(
                    pending, self._writer.not_converging(pending.intent.change, outcome.attempts, outcome.request_id)
                )
                self._excuse(pending.intent.change)

    def problems(self) -> list[Problem]:
        """Return where the driver is not as the sources want, without what the outcomes say already."""
        if not self.was_written or not self.state.is_current:
            return []  # the outcome says that the effect is unknown
        if not self.state.exists:
            found = ["the driver no longer exists"] if self.state.wanted else []
        else:
            found = [
                f"the driver is not in fleet {fleet}, although the sources want it" for fleet in self.state.missing
            ]
            found += [
                f"the driver is in fleet {fleet} now, although the sources do not want it: another client did that"
                for fleet in self.state.unexpected_in(self.state.latest)
            ]
            found += [
                f"the driver is in fleet {pending.intent.change.fleet} again: another client did that"
                for pending in self.pending
                if _was_gone(pending) and not self.state.shows(pending.intent.change)
            ]
        return [Problem(self.driver, message, code=ProblemCode.NOT_AS_WANTED) for message in found]

    async def repair_lost(self) -> bool:
        """Attach the driver again where another writer removed a wanted membership. Return whether that was needed."""
        lost = self.state.take_lost()
        for fleet in lost:
            change = Change(Action.ATTACH, self.driver, fleet)
            pending = PendingWrite(Intent(self._context.new_key(), change), repair=True)
            log.warning("wanted_membership_lost", driver=self.driver, fleet=fleet)
            try:
                await self._context.journal.add_intents(self._context.run, [pending.intent])
            except JournalError as error:
                self._context.cancellation.request_stop(error)
                return True
            self.pending.append(pending)
            await self._attach(pending)
        return bool(lost)

    async def _attach(self, pending: PendingWrite) -> None:
        outcome = await self._writer.write(pending, self.state)
        self._finish(pending, outcome)
        if not pending.done:
            self._excuse(pending.intent.change)

    async def _detach(self, pending: PendingWrite) -> Outcome:
        if (outcome := self._writer.withheld(pending)) is not None:
            return outcome
        if self._unattached is not None:
            return attach_first.deferred_detach(self._unattached)
        if not self.state.wanted:
            # A leaver: this run's reading is proof enough, because a late detach is still right.
            return await self._writer.write(pending, self.state)
        for _ in range(freshness.MAX_PROOFS):
            try:
                proof = await self._prove(pending)
                return await self._writer.write(pending, self.state, check_proof=self._check(proof), urgent=True)
            except _ProofExpired:
                continue
            except _NotProven as unproven:
                return unproven.outcome
        return membership_writer.unsent(
            pending.attempts, NOT_FRESH, "no proof that the driver stays in a wanted fleet was fresh enough"
        )

    async def _prove(self, pending: PendingWrite) -> freshness.Proof:
        """Read the driver until every attach of this run is shown. Raises _NotProven.

        The detach takes the turn after this GET: at low rates another driver's turn in between would make every proof
        stale before it is used, and no detach would ever be sent.
        """
        delays = iter(READ_BACK_DELAYS)
        while True:
            sent = await self._read(pending)
            if await self.repair_lost():
                continue  # a repair is no proof: read again
            unseen = [each for each in self._made_attaches() if not self.state.shows(each.intent.change)]
            if not unseen:
                break
            delay = next(delays, None)
            if delay is None:
                raise _NotProven(self._give_up(unseen))
            try:
                await self._context.cancellation.sleep(delay)
            except FleetSyncError as error:
                raise _NotProven(membership_writer.interrupted(pending.attempts, error)) from None
        if self.state.shows(pending.intent.change):
            raise _NotProven(_found_done(pending))
        if not self.state.in_wanted_fleet:
            message = "the driver is in none of the fleets that the sources want"
            raise _NotProven(membership_writer.unsent(pending.attempts, NO_WANTED_FLEET, message))
        return freshness.Proof(sent, self._context.executor.seconds_between_turns)

    async def _read(self, pending: PendingWrite) -> float:
        """Read the driver, and return the uptime when the GET was sent. Raises _NotProven if that fails."""
        try:
            return await self._writer.read(self.driver, self.state)
        except NotFound:
            raise _NotProven(Already(pending.attempts.count, message="the driver no longer exists")) from None
        except FleetSyncError as error:
            raise _NotProven(
                membership_writer.unsent(pending.attempts, error.code, f"the driver could not be read: {error.message}")
            ) from None

    def _check(self, proof: freshness.Proof) -> Callable[[], None]:
        def check() -> None:
            if not proof.is_fresh(self._context.clock.uptime()):
                raise _ProofExpired

        return check

    def _made_attaches(self) -> list[PendingWrite]:
        return [each for each in self.pending if each.intent.change.action is Action.ATTACH and each.done]

    def _give_up(self, unseen: Sequence[PendingWrite]) -> Outcome:
        """Count accepted attaches that no reading shows as refused. Return the outcome of the waiting detach."""
        for pending in unseen:
            outcome = self._writer.not_converging(pending.intent.change, pending.attempts.count, None)
            self._finish(pending, outcome)
            self._excuse(pending.intent.change)
        return attach_first.deferred_detach(unseen[0].intent.change.fleet)

    def _excuse(self, change: Change) -> None:
        if change.action is Action.ATTACH:
            self.state.excuse(change.fleet)
            self._unattached = change.fleet

    def _finish(self, pending: PendingWrite, outcome: Outcome) -> None:
        """Keep the outcome of a change, and hand it to the journal. An earlier attempt may take effect nevertheless."""
        if pending.outcome is None:
            self._context.progress.step()
        pending.outcome = outcome = membership_writer.unless_unclear(pending.attempts, outcome)
        self._outcomes.add(pending.intent.key, outcome)
        self._writer.log_outcome(pending.intent.change, outcome)


def _found_done(pending: PendingWrite) -> Outcome:
    if pending.attempts.count:
        return Applied(pending.attempts.count, message="confirmed by reading the driver")
    return Already(0, message="another client had made the change")


def _was_gone(pending: PendingWrite) -> bool:
    """Return whether a detach was not sent, because a reading showed that it was done."""
    done = isinstance(pending.outcome, Already) and not pending.outcome.attempts
    return done and pending.intent.change.action is Action.DETACH
