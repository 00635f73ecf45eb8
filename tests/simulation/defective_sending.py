"""Parts of the product that send or record wrongly. Each has one defect.

Neighbours: defective_judgement.py; test_defects.py says which rule each breaks.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import trio

from tests.simulation import fake_journal
from worker.charge import client, transport
from worker.core.model.errors import ChargeError, FleetSyncError, Stopped, Unreachable
from worker.core.model.identifiers import FleetId, IntentKey, RunId
from worker.core.model.outcomes import Applied, Deferred, Outcome
from worker.core.model.plan import Change
from worker.core.model.ports import Intent
from worker.core.model.problem import Problem
from worker.core.model.replies import WriteReply
from worker.engine import (
    applier,
    cancellation,
    driver_lane,
    membership_writer,
    rate_limiter,
    request_executor,
    run_context,
    source_watch,
)


class KeyPerAttempt(client.Client):
    """Makes a new key for every attempt."""

    attempts = 0

    async def write(self, change: Change, *, key: IntentKey) -> WriteReply:
        self.attempts += 1
        return await super().write(change, key=IntentKey(f"{key}-{self.attempts}"))


class OneKey(applier.Applier):
    """Derives the key from the change alone."""

    def prepare(self, changes: Sequence[Change], **rest: Any) -> applier.Work:
        work = super().prepare(changes, **rest)
        intents = [
            Intent(IntentKey(f"{each.change.action}-{each.change.driver}-{each.change.fleet}"), each.change)
            for each in work.intents
        ]
        return dataclasses.replace(work, intents=intents)


class DetachFirstLane(driver_lane.DriverLane):
    """Detaches before it attaches."""

    async def run(self) -> None:
        self.pending.reverse()
        await super().run()


class DetachFirst(applier.Applier):
    """Detaches before it attaches."""

    lane_class = DetachFirstLane


class DetachAnywayLane(driver_lane.DriverLane):
    """Detaches without a proof, even if an attach did not succeed."""

    async def _detach(self, pending: membership_writer.PendingWrite) -> Outcome:
        return await self._writer.write(pending, self.state)


class DetachAnyway(applier.Applier):
    """Detaches without a proof, even if an attach did not succeed."""

    lane_class = DetachAnywayLane


class LateIntents(fake_journal.FakeJournal):
    """Writes a run down when the first outcome is known."""

    begun: Callable[[], Awaitable[None]] | None = None

    async def begin(self, run: RunId, **rest: Any) -> None:
        self.begun = lambda: super(LateIntents, self).begin(run, **rest)

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        if self.begun is not None:
            await self.begun()
            self.begun = None
        await super().record(group)


class Forgetful(fake_journal.FakeJournal):
    """Loses the last outcome of every group."""

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        await super().record(group[:-1])


class Undaunted(cancellation.Cancellation):
    """Goes on after a rejected key and a failed journal."""

    def request_stop(self, reason: FleetSyncError) -> None:
        if isinstance(reason, Stopped):
            super().request_stop(reason)


class Deaf(cancellation.Cancellation):
    """Goes on after a signal."""

    def request_stop(self, reason: FleetSyncError) -> None:
        if not isinstance(reason, Stopped):
            super().request_stop(reason)


class Sleepwalker(cancellation.Cancellation):
    """Does not notice that it stood still."""

    def heartbeat(self) -> None:
        pass


class UsurperWriter(membership_writer.MembershipWriter):
    """Does not check whether it still is the writer of the journal."""

    async def _check_writer(self) -> None:
        self._cancellation.check()


class Usurper(applier.Applier):
    """Does not check whether it still is the writer of the journal."""

    writer_class = UsurperWriter


class Rushing(rate_limiter.RateLimiter):
    """Waits for no turn."""

    async def acquire(self, run_cancellation: cancellation.Cancellation, *, urgent: bool = False) -> float:
        run_cancellation.check()
        await trio.lowlevel.checkpoint()
        return trio.current_time()


class Trusting(transport.Transport):
    """Follows every address."""

    def trusted(self, url: str) -> str:
        return url


class Stuck(rate_limiter.RateLimiter):
    """Waits forever once it was told to slow down."""

    def limited(self, sent: float, retry_after: float | None) -> None:
        self._closed_until = float("inf")

    def _wait(self, now: float, *, urgent: bool) -> float:
        return 1e9 if self._closed_until > now else 0.0


class Hasty(request_executor.RequestExecutor):
    """Tries again at once, and forever."""

    async def execute(self, call: Any, attempts: Any = None, *, ready: Any = None, urgent: bool = False) -> Any:
        while True:
            try:
                return await super().execute(call, attempts, ready=ready, urgent=urgent)
            except Unreachable:
                continue


class CarelessWriter(membership_writer.MembershipWriter):
    """Takes every answer for success, and no answer too."""

    async def write(self, *args: Any, **rest: Any) -> Outcome:
        outcome = await super().write(*args, **rest)
        return outcome if isinstance(outcome, Applied) else Applied(1)


class Careless(applier.Applier):
    """Takes every answer for success, and no answer too."""

    writer_class = CarelessWriter


class PessimistWriter(membership_writer.MembershipWriter):
    """Takes a write without an answer for not made."""

    async def _settle(self, change: Change, attempts: Any, cause: ChargeError, state: Any) -> Outcome:
        attempts.maybe_applied = False
        return Deferred(attempts.count, cause.code, cause.message)


class Pessimist(applier.Applier):
    """Takes a write without an answer for not made."""

    writer_class = PessimistWriter


class BlindLane(driver_lane.DriverLane):
    """Compares a driver with the changes that it made, and with nothing else that is wanted."""

    def agrees_with(self, fleets: frozenset[FleetId]) -> bool:
        return all(pending.intent.change.done_in(fleets) for pending in self.pending if pending.done)

    async def repair_lost(self) -> bool:
        return False

    def problems(self) -> list[Problem]:
        return []


class Blind(applier.Applier):
    """Compares a driver with the changes that it made, and with nothing else that is wanted."""

    lane_class = BlindLane


class ForgivingLane(driver_lane.DriverLane):
    """Forgets what a reply lacks where a later listing shows it, although a listing may lag behind a reply."""

    @property
    def is_contradicted(self) -> bool:
        return False


class Forgiving(applier.Applier):
    """Forgets what a reply lacks where a later listing shows it, although a listing may lag behind a reply."""

    lane_class = ForgivingLane


class OldProofLane(driver_lane.DriverLane):
    """Uses a proof however old it is."""

    def _check(self, proof: Any) -> Callable[[], None]:
        return lambda: None


class OldProof(applier.Applier):
    """Uses a proof however old it is."""

    lane_class = OldProofLane


class ObstinateWriter(membership_writer.MembershipWriter):
    """Goes on after a source changed."""

    def __init__(
        self,
        context: run_context.RunContext,
        sources: source_watch.SourceWatch,
        statuses: Mapping[str, str],
        *others: Any,
        **rest: Any,
    ) -> None:
        super().__init__(context, source_watch.SourceWatch((), clock=context.clock), statuses, *others, **rest)


class Obstinate(applier.Applier):
    """Goes on after a source changed."""

    writer_class = ObstinateWriter


class LazyLane(driver_lane.DriverLane):
    """Leaves its last change undone."""

    async def run(self) -> None:
        last = self.pending.pop()
        await super().run()
        self.pending.append(last)
        self._finish(last, Deferred(0, "lazy", "tomorrow"))


class Lazy(applier.Applier):
    """Leaves the last change of each driver undone."""

    lane_class = LazyLane
