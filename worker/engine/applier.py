"""Applies the changes of a guarded plan: one lane for each driver, side by side, every write journalled.

Invariants: no write is sent whose intent is not in the journal; every change gets exactly one outcome. Neighbours:
`driver_lane` makes the changes of one driver, `verification` reads them back, `reconciler` calls this.
"""

import collections
import contextlib
import dataclasses
import types
from collections.abc import Collection, Mapping, Sequence

from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.outcomes import ChangeResult
from worker.core.model.plan import Action, Change, ConcernedDriver
from worker.core.model.ports import Intent, OpenIntent, Stage
from worker.core.model.problem import Problem
from worker.core.safety import driver_state, forbidden_writes
from worker.engine import (
    concurrency,
    driver_lane,
    membership_writer,
    outcome_writer,
    pause_watch,
    request_executor,
    run_context,
    source_watch,
    verification,
)
from worker.engine.membership_writer import PendingWrite


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """The changes that a run sends, and what was read about their drivers.

    `intents` are new; `resent` are open intents of earlier runs that are sent again under their keys. `unsent` are the
    changes of the plan that are held, postponed or stale. `statuses` are those of drivers and fleets that are not
    active; `names` are for the log. `dated` are attaches that only rows with dates ask for. `enforced` are fleets in
    which only wanted drivers may be.
    """

    intents: Sequence[Intent]
    resent: Sequence[OpenIntent]
    concerned: Mapping[DriverId, ConcernedDriver]
    unsent: Collection[Change] = ()
    statuses: Mapping[str, str] = dataclasses.field(default_factory=dict)
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    dated: frozenset[Change] = frozenset()
    enforced: frozenset[FleetId] = frozenset()

    @property
    def fleets(self) -> frozenset[FleetId]:
        """Return the fleets that the changes concern."""
        return frozenset(intent.change.fleet for intent in (*self.intents, *(each.intent for each in self.resent)))


@dataclasses.dataclass(frozen=True, slots=True)
class AppliedChanges:
    """The outcome of every change that was sent, repairs included, and where drivers are not as the sources want."""

    results: tuple[ChangeResult, ...]
    problems: tuple[Problem, ...]


class Applier:
    """Applies for one run. A subclass may replace the classes that it builds."""

    writer_class = membership_writer.MembershipWriter
    lane_class = driver_lane.DriverLane

    def __init__(self, context: run_context.RunContext) -> None:
        """Take the run."""
        self._context = context

    def prepare(
        self,
        changes: Sequence[Change],
        *,
        open_intents: Collection[OpenIntent],
        concerned: Mapping[DriverId, ConcernedDriver],
        unsent: Collection[Change] = (),
        statuses: Mapping[str, str] = types.MappingProxyType({}),
        approved: Collection[Change] = (),
        names: Mapping[str, str] = types.MappingProxyType({}),
        dated: frozenset[Change] = frozenset(),
        enforced: frozenset[FleetId] = frozenset(),
    ) -> Work:
        """Assign each change its own key, or that of its open intent. Journal the intents before applying them."""
        unclear = {each.intent.change: each for each in open_intents}
        return Work(
            intents=[
                Intent(self._context.new_key(), change, approved=change in approved)
                for change in changes
                if change not in unclear
            ],
            resent=[unclear[change] for change in changes if change in unclear],
            concerned=concerned,
            unsent=unsent,
            statuses=statuses,
            names=names,
            dated=dated,
            enforced=enforced,
        )

    async def apply(
        self,
        work: Work,
        *,
        sources: source_watch.SourceWatch,
        check: verification.Verification,
        pauses: pause_watch.PauseWatch,
    ) -> AppliedChanges:
        """Make every change, or say why not, and read back what was made.

        Whatever goes wrong is in the outcomes, and in the reason of the cancellation.
        """
        context = self._context
        outcomes = outcome_writer.OutcomeWriter(journal=context.journal, run_cancellation=context.cancellation)
        await pauses.refresh()  # before the first write: a pause may have begun while the plan was made
        writer = self.writer_class(context, sources, work.statuses, work.names, pauses, dated=work.dated)
        writer.forbidden = forbidden_writes.ForbiddenWrites(work.fleets)
        lanes = await context.compute(lambda: self._lanes(work, writer, outcomes))
        context.progress.stage(Stage.CHANGING_MEMBERSHIPS, sum(len(lane.pending) for lane in lanes))
        async with concurrency.background_tasks() as background:
            background.start_soon(outcomes.flush_regularly)
            background.start_soon(context.cancellation.send_heartbeats)
            # Reading Charge may have taken long: nothing is sent before the sources are checked again.
            context.cancellation.heartbeat()  # `reading` does not notice what happened before it
            with contextlib.suppress(FleetSyncError):
                async with context.cancellation.reading():
                    await sources.poll()
            async with concurrency.background_tasks() as watching:
                watching.start_soon(sources.run_forever)
                watching.start_soon(pauses.run_forever)
                with context.cancellation.writing():
                    limit = context.options.concurrency
                    await concurrency.run_bounded(lambda lane: lane.run(), lanes, limit=limit)
            for lane in lanes:
                lane.interrupt(context.cancellation.reason)
            problems = await check.verify(lanes)
        await outcomes.flush()
        return AppliedChanges(tuple(result for lane in lanes for result in lane.results()), problems)

    def _lanes(
        self,
        work: Work,
        writer: membership_writer.MembershipWriter,
        outcomes: outcome_writer.OutcomeWriter,
    ) -> list[driver_lane.DriverLane]:
        """Group the changes by driver; drivers in order."""
        pending: dict[DriverId, list[PendingWrite]] = collections.defaultdict(list)
        for intent in work.intents:
            pending[intent.change.driver].append(PendingWrite(intent))
        for unclear in work.resent:
            # The earlier attempts may yet take effect, so no reply proves anything without a GET.
            attempts = request_executor.Attempts(write=True, count=max(1, unclear.attempts), maybe_applied=True)
            pending[unclear.intent.change.driver].append(PendingWrite(unclear.intent, attempts=attempts))
        excused: dict[DriverId, list[FleetId]] = collections.defaultdict(list)
        for change in work.unsent:
            if change.action is Action.ATTACH:
                excused[change.driver].append(change.fleet)
        return [
            self.lane_class(
                self._context,
                writer,
                outcomes,
                driver=driver,
                pending=own,
                state=driver_state.DriverState(work.concerned[driver], excused=excused[driver], enforced=work.enforced),
            )
            for driver, own in sorted(pending.items())
        ]
