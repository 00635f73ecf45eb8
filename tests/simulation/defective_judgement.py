"""Parts of the product that judge wrongly: what was read, what is known, and what the time is. Each has one defect.

Neighbours: defective_sending.py; test_defects.py says which rule each breaks.
"""

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

from tests.support import harness
from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, FleetByName, FleetEntry, Mode, Origin, SourceReading, SourceRevision
from worker.core.model.errors import SourceError
from worker.core.model.ports import OpenIntent, Source
from worker.core.safety import clock_trust
from worker.engine import (
    applier,
    clock_check,
    driver_lane,
    plan_builder,
    reader,
    reconciler,
    run_context,
    verification,
)


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


class NoRecovery(reconciler.Reconciler):
    """Leaves the open intents of earlier runs as they are."""

    async def _recover(self, left_open: Sequence[OpenIntent], actual: Actual) -> tuple[list[OpenIntent], Actual | None]:
        return [], None


class RosyVerification(verification.Verification):
    """Takes a listing for a confirmation, whatever it shows."""

    def _is_confirmed(self, lane: driver_lane.DriverLane, actual: Actual, *, by_listing: bool = True) -> bool:
        if not by_listing or lane.driver not in actual.memberships:
            return super()._is_confirmed(lane, actual, by_listing=by_listing)
        lane.state.add_reading(lane.state.latest)
        return True


class Rosy(reconciler.Reconciler):
    """Takes a listing for a confirmation, whatever it shows."""

    def _check(self, plan_result: plan_builder.PlanResult | None) -> verification.Verification:
        if plan_result is None:
            return super()._check(plan_result)
        requests = plan_result.actual.requests
        return RosyVerification(self._context, self._reader, desired=plan_result.desired, listing_requests=requests)


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


class TrustingCheck(clock_check.ClockCheck):
    """Trusts any clock."""

    def assess(self) -> clock_trust.Assessment:
        return dataclasses.replace(super().assess(), reason="")


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


class Shrugging(plan_builder.PlanBuilder):
    """Does not mind how many rows a source lost."""

    def __init__(self, context: run_context.RunContext, *parts: Any, rules: plan_builder.Rules, **rest: Any) -> None:
        fractions = {f"source-{number}.yaml": 1.0 for number in range(2)}
        limits = dataclasses.replace(rules.limits, max_shrink_fractions=fractions)
        super().__init__(context, *parts, rules=dataclasses.replace(rules, limits=limits), **rest)
