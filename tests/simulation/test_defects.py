"""The oracles can fail: each of these products has one defect, and some world finds it under the right name."""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio

from tests.simulation import fake_journal, living, world
from tests.support import harness, laws
from worker.charge import client, transport
from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, FleetByName, FleetEntry, Mode, Origin, SourceReading, SourceRevision
from worker.core.model.errors import ChargeError, FleetSyncError, SourceError, Stopped, Unreachable
from worker.core.model.identifiers import IntentKey, RunId
from worker.core.model.outcomes import Applied, ChangeResult, Deferred, Outcome
from worker.core.model.plan import Change
from worker.core.model.ports import Intent, OpenIntent, WriteReply
from worker.engine import applier, cancellation, plan_builder, rate_limiter, reader, reconciler, request_executor

MOST_WORLDS = 150


class KeyPerAttempt(client.Client):
    """Makes a new key for every attempt."""

    attempts = 0

    async def write(self, change: Change, *, key: IntentKey) -> WriteReply:
        self.attempts += 1
        return await super().write(change, key=IntentKey(f"{key}-{self.attempts}"))


class OneKey(applier.Applier):
    """Derives the key from the change alone."""

    def intend(self, changes: Sequence[Change]) -> list[Intent]:
        return [Intent(IntentKey(f"{change.action}-{change.driver}-{change.fleet}"), change) for change in changes]


class DetachFirst(applier.Applier):
    """Detaches before it attaches."""

    async def _lane(self, lane: Sequence[Any], **record: Any) -> None:
        await super()._lane(list(reversed(lane)), **record)


class DetachAnyway(applier.Applier):
    """Detaches though an attach did not succeed."""

    async def _lane(self, lane: Sequence[Any], **record: Any) -> None:
        for work in lane:
            await super()._lane([work], **record)


class Believer(reader.Reader):
    """Believes every listing."""

    async def read(self, desired: Desired) -> Actual:
        return dataclasses.replace(await super().read(desired), incomplete={})


class Guesser(reader.Reader):
    """Takes the first of several drivers whom a reference may mean."""

    async def read(self, desired: Desired) -> Actual:
        actual = await super().read(desired)
        first = {entry: found[:1] for entry, found in actual.metadata.items()}
        return dataclasses.replace(actual, metadata=first)


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


class NoRecovery(reconciler.Reconciler):
    """Leaves open what earlier lives left open."""

    async def _recover(self, left_open: Sequence[OpenIntent], actual: Actual) -> None:
        pass


class Unguarded(plan_builder.PlanBuilder):
    """Has no limits."""

    def __init__(self, *, rules: plan_builder.Rules, **rest: Any) -> None:
        super().__init__(rules=dataclasses.replace(rules, limits=harness.LENIENT), **rest)


class Additive(plan_builder.PlanBuilder):
    """Detaches from fleets that only grow."""

    async def desired(self) -> Desired:
        desired = await super().desired()
        exact = tuple(dataclasses.replace(entry, mode=Mode.EXACT) for entry in desired.fleets)
        return dataclasses.replace(desired, fleets=exact)


class HalfSources(plan_builder.PlanBuilder):
    """Goes on with what it could read where a source cannot be read."""

    async def desired(self) -> Desired:
        readable = []
        for source in self._sources:
            try:
                await source.read()
                readable.append(source)
            except SourceError:
                readable.append(Nothing())
        self._sources = readable
        return await super().desired()


class Nothing:
    """A source that says that everybody is to go."""

    async def read(self) -> SourceReading:
        fleets = (FleetEntry(FleetByName("Fleet 0"), Origin("nothing", 1, 1)),)
        return SourceReading(SourceRevision("file", "nothing", "sha256:0"), fleets, ())

    async def peek(self) -> str | None:
        """Return no cheap revision."""
        return None


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


class Usurper(applier.Applier):
    """Does not ask whether it is the one writer still."""

    async def _still_ours(self) -> None:
        self._executor.run_cancellation.check()


class Rushing(rate_limiter.RateLimiter):
    """Waits for nobody."""

    async def acquire(self, run_cancellation: cancellation.Cancellation) -> float:
        run_cancellation.check()
        await trio.lowlevel.checkpoint()
        return trio.current_time()


class Trusting(transport.Transport):
    """Follows every address."""

    def trusted(self, url: str) -> str:
        return url


class Stuck(rate_limiter.RateLimiter):
    """Waits for ever once it was told to slow down."""

    def limited(self, sent: float, retry_after: float | None) -> None:
        self._closed_until = float("inf")

    def _wait(self, now: float) -> float:
        return 1e9 if self._closed_until > now else 0.0


class Hasty(request_executor.RequestExecutor):
    """Tries again at once, and for ever."""

    async def send(self, call: Any, attempts: Any = None, *, ready: Any = None) -> Any:
        while True:
            try:
                return await super().send(call, attempts, ready=ready)
            except Unreachable:
                continue


class Careless(applier.Applier):
    """Takes every answer for success, and no answer too."""

    async def _write(self, intent: Intent, attempts: request_executor.Attempts) -> Outcome:
        outcome = await super()._write(intent, attempts)
        return outcome if isinstance(outcome, Applied) else Applied(1)


class Pessimist(applier.Applier):
    """Takes a write without an answer for not made."""

    async def _settle(self, change: Change, attempts: Any, cause: ChargeError) -> Outcome:
        return Deferred(attempts.count, cause.code, cause.message)


class Lazy(applier.Applier):
    """Leaves the last change to nobody."""

    async def apply(self, intents: Sequence[Intent]) -> tuple[ChangeResult, ...]:
        made = await super().apply(intents[:-1])
        left = Deferred(0, "lazy", "tomorrow")
        await self._journal.record([(intents[-1].key, left)])
        return (*made, ChangeResult(intents[-1].change, left))


DEFECTS = [
    (living.Parts(new_client=KeyPerAttempt), "rule 4"),
    (living.Parts(new_applier=OneKey), "rule 5"),
    (living.Parts(new_applier=DetachFirst), "rule 3"),
    (living.Parts(new_applier=DetachAnyway), "rule 3"),
    laws.slow(living.Parts(new_reader=Believer), "rule 2"),
    (living.Parts(new_reader=Guesser), "rule 1"),
    (living.Parts(new_journal=LateIntents), "rule 4"),
    (living.Parts(new_journal=Forgetful), "record"),
    (living.Parts(new_reconciler=NoRecovery), "record"),
    (living.Parts(new_builder=Unguarded), "guard"),
    (living.Parts(new_builder=Additive), "rule 1"),
    (living.Parts(new_builder=HalfSources), "rule 2"),
    (living.Parts(new_cancellation=Undaunted), "halt"),
    (living.Parts(new_cancellation=Deaf), "halt"),
    (living.Parts(new_cancellation=Sleepwalker), "pause"),
    laws.slow(living.Parts(new_applier=Usurper), "one writer"),
    (living.Parts(new_limiter=Rushing), "pace"),
    laws.slow(living.Parts(new_transport=Trusting), "rule 6"),
    laws.slow(living.Parts(new_limiter=Stuck), "deadlock"),
    laws.slow(living.Parts(new_executor=Hasty), "bound"),
    (living.Parts(new_applier=Careless), "report"),
    (living.Parts(new_applier=Pessimist), "record"),
    (living.Parts(new_applier=Lazy), "convergence"),
]


def _name(defect: object) -> str:
    if not isinstance(defect, living.Parts):
        return str(defect).replace(" ", "-")
    parts = ((field, getattr(defect, field.name)) for field in dataclasses.fields(living.Parts))
    return "-".join(part.__name__ for field, part in parts if part is not field.default)


@pytest.mark.parametrize(("parts", "rule"), DEFECTS, ids=_name)
def test_a_planted_defect_is_found(parts: living.Parts, rule: str) -> None:
    found: set[str] = set()
    for seed in range(MOST_WORLDS):
        found |= {line.partition(":")[0] for line in world.play(seed, parts=parts).violations}
        if rule in found:
            return
    pytest.fail(f"{MOST_WORLDS} worlds found only {sorted(found)}")
