"""The oracles can fail: each of these products has one defect, and some world finds it under the right name."""

import dataclasses
import datetime
import types
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
import trio

from tests.simulation import fake_journal, simulated_process, world
from tests.support import harness, laws
from worker.charge import client, transport
from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, FleetByName, FleetEntry, Mode, Origin, SourceReading, SourceRevision
from worker.core.model.errors import ChargeError, FleetSyncError, SourceError, Stopped, Unreachable
from worker.core.model.identifiers import FleetId, IntentKey, RunId
from worker.core.model.outcomes import Applied, Deferred, Outcome
from worker.core.model.plan import Change
from worker.core.model.ports import Intent, OpenIntent, Source
from worker.core.model.problem import Problem
from worker.core.model.replies import WriteReply
from worker.core.safety import clock_trust
from worker.engine import (
    applier,
    cancellation,
    clock_check,
    driver_lane,
    membership_writer,
    plan_builder,
    rate_limiter,
    reader,
    reconciler,
    request_executor,
    run_context,
    source_watch,
    wiring,
)

MOST_WORLDS = 300


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


class Believer(reader.Reader):
    """Believes every listing."""

    async def read(self, desired: Desired, *, all_names: bool = True) -> Actual:
        return dataclasses.replace(await super().read(desired, all_names=all_names), incomplete={})


class Guesser(reader.Reader):
    """Takes the first of several drivers whom a reference may mean."""

    async def read(self, desired: Desired, *, all_names: bool = True) -> Actual:
        actual = await super().read(desired, all_names=all_names)
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
    """Leaves the open intents of earlier runs as they are."""

    async def _recover(self, left_open: Sequence[OpenIntent], actual: Actual) -> tuple[list[OpenIntent], Actual | None]:
        return [], None


class Unguarded(plan_builder.PlanBuilder):
    """Has no limits."""

    def __init__(self, *parts: Any, rules: plan_builder.Rules, sources: Sequence[Source]) -> None:
        super().__init__(*parts, rules=dataclasses.replace(rules, limits=harness.LENIENT), sources=sources)


class Additive(plan_builder.PlanBuilder):
    """Detaches from fleets that only grow."""

    async def read(self) -> tuple[Desired, Actual]:
        desired, actual = await super().read()
        exact = tuple(dataclasses.replace(entry, mode=Mode.EXACT) for entry in desired.fleets)
        return dataclasses.replace(desired, fleets=exact), actual


class HalfSources(plan_builder.PlanBuilder):
    """Goes on with the sources that it can read."""

    def __init__(self, *parts: Any, rules: plan_builder.Rules, sources: Sequence[Source]) -> None:
        super().__init__(*parts, rules=rules, sources=[Lenient(source) for source in sources])


class Lenient:
    """A source that says nothing where it cannot be read."""

    poll_seconds = 2.0

    def __init__(self, source: Source) -> None:
        self._source = source

    async def read(self) -> SourceReading:
        try:
            return await self._source.read()
        except SourceError:
            return await Nothing().read()

    async def peek(self) -> str | None:
        try:
            return await self._source.peek()
        except SourceError:
            return None


class Nothing:
    """A source that says that everybody is to go."""

    poll_seconds = 2.0

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
    """Waits for ever once it was told to slow down."""

    def limited(self, sent: float, retry_after: float | None) -> None:
        self._closed_until = float("inf")

    def _wait(self, now: float, *, urgent: bool) -> float:
        return 1e9 if self._closed_until > now else 0.0


class Hasty(request_executor.RequestExecutor):
    """Tries again at once, and for ever."""

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
        statuses: Mapping[str, str] = types.MappingProxyType({}),
        *others: Any,
        **rest: Any,
    ) -> None:
        super().__init__(context, source_watch.SourceWatch((), clock=context.clock), statuses, *others, **rest)


class Obstinate(applier.Applier):
    """Goes on after a source changed."""

    writer_class = ObstinateWriter


class TrustingCheck(clock_check.ClockCheck):
    """Trusts any clock."""

    def judge(self) -> clock_trust.Judgement:
        return dataclasses.replace(super().judge(), reason="")


def _trusting(context: run_context.RunContext) -> run_context.RunContext:
    """Return the context with a check that trusts any clock."""
    check = TrustingCheck(charge=context.charge, journal=context.journal, clock=context.clock)
    object.__setattr__(context, "wall_clock", check)
    return context


class Credulous(plan_builder.PlanBuilder):
    """Plans by any clock."""

    def __init__(self, context: run_context.RunContext, *parts: Any, **rest: Any) -> None:
        super().__init__(_trusting(context), *parts, **rest)


class Unflinching(applier.Applier):
    """Goes on after the clock was set."""

    def __init__(self, context: run_context.RunContext) -> None:
        super().__init__(_trusting(context))


class NoHorizon(reconciler.Reconciler):
    """Takes an unclear write that the next reading does not show for not made."""

    def __init__(self, context: run_context.RunContext, *parts: Any, **rest: Any) -> None:
        options = dataclasses.replace(context.options, late_effects=datetime.timedelta(seconds=-1))
        super().__init__(dataclasses.replace(context, options=options), *parts, **rest)


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


class Shrugging(plan_builder.PlanBuilder):
    """Does not mind how many rows a source lost."""

    def __init__(self, context: run_context.RunContext, *parts: Any, rules: plan_builder.Rules, **rest: Any) -> None:
        fractions = {f"source-{number}.yaml": 1.0 for number in range(2)}
        limits = dataclasses.replace(rules.limits, max_shrink_fractions=fractions)
        super().__init__(context, *parts, rules=dataclasses.replace(rules, limits=limits), **rest)


def _engine(**parts: Any) -> simulated_process.Parts:
    return simulated_process.Parts(engine=wiring.Parts(**parts))


DEFECTS = [
    (simulated_process.Parts(new_client=KeyPerAttempt), "rule 4"),
    (_engine(applier_class=OneKey), "rule 5"),
    laws.slow(_engine(applier_class=DetachFirst), "rule 3"),
    (_engine(applier_class=DetachAnyway), "rule 3"),
    laws.slow(_engine(reader_class=Believer), "rule 2"),
    (_engine(reader_class=Guesser), "rule 1"),
    (simulated_process.Parts(new_journal=LateIntents), "rule 4"),
    (simulated_process.Parts(new_journal=Forgetful), "record"),
    (_engine(reconciler_class=NoRecovery), "record"),
    (_engine(builder_class=Unguarded), "guard"),
    laws.slow(_engine(builder_class=Shrugging), "shrunk"),
    (_engine(builder_class=Additive), "rule 1"),
    laws.slow(_engine(builder_class=HalfSources), "rule 2"),
    (simulated_process.Parts(new_cancellation=Undaunted), "shutdown"),
    (simulated_process.Parts(new_cancellation=Deaf), "shutdown"),
    laws.slow(simulated_process.Parts(new_cancellation=Sleepwalker), "pause"),
    laws.slow(_engine(applier_class=Usurper), "one writer"),
    (simulated_process.Parts(new_limiter=Rushing), "rate limit"),
    laws.slow(simulated_process.Parts(new_transport=Trusting), "rule 6"),
    laws.slow(simulated_process.Parts(new_limiter=Stuck), "deadlock"),
    laws.slow(simulated_process.Parts(new_executor=Hasty), "bound"),
    (_engine(applier_class=Careless), "report"),
    (_engine(applier_class=Pessimist), "record"),
    (_engine(applier_class=Lazy), "convergence"),
    (_engine(applier_class=DetachAnyway), "proof"),
    laws.slow(_engine(applier_class=OldProof), "proof"),
    (_engine(applier_class=Blind), "converged"),
    laws.slow(_engine(applier_class=Blind), "state"),
    laws.slow(_engine(applier_class=Obstinate), "rule 11"),
    laws.slow(_engine(reconciler_class=NoHorizon), "rule 5"),
    (_engine(builder_class=Credulous), "clock"),
    laws.slow(_engine(applier_class=Unflinching), "clock"),
]


def _name(defect: object) -> str:
    if not isinstance(defect, simulated_process.Parts):
        return str(defect).replace(" ", "-")
    own = [(field, getattr(defect, field.name)) for field in dataclasses.fields(defect) if field.name != "engine"]
    engine = [(field, getattr(defect.engine, field.name)) for field in dataclasses.fields(defect.engine)]
    return "-".join(part.__name__ for field, part in (*own, *engine) if part is not field.default)


@pytest.mark.parametrize(("parts", "rule"), DEFECTS, ids=_name)
def test_a_planted_defect_is_found(parts: simulated_process.Parts, rule: str) -> None:
    found: set[str] = set()
    for seed in range(MOST_WORLDS):
        found |= {line.partition(":")[0] for line in world.play(seed, parts=parts).violations}
        if rule in found:
            return
    pytest.fail(f"{MOST_WORLDS} worlds found only {sorted(found)}")
