"""Reads back what a run wrote, and settles every doubt about the drivers that it changed.

Invariants: if a listing or the newest reply contradicts a change, a GET decides, because listings may lag. A GET that
contradicts it too is repeated after growing pauses, because any reading may lag behind writes. A driver in no wanted
fleet is attached again once, or reported. A driver that could not be read back is a problem: a reply alone does not
show what Charge has stored. Neighbours: `driver_lane` holds the outcomes and the state of each driver, `reader` reads.
"""

from collections.abc import Iterable, Sequence

import structlog

from worker.core.model.actual import Actual
from worker.core.model.desired import Desired
from worker.core.model.errors import FleetSyncError
from worker.core.model.problem import Problem, ProblemCode
from worker.core.monitoring import humanize
from worker.engine import concurrency, driver_lane, reader, run_context

log = structlog.get_logger()

_MOST_NAMED = 30
"""Drivers that a problem names: in an outage it may be about all."""


class Verification:
    """The read-back of one run."""

    def __init__(
        self,
        context: run_context.RunContext,
        account_reader: reader.Reader,
        *,
        desired: Desired | None,
        listing_requests: int,
    ) -> None:
        """Take the run and its reader.

        `desired` is what the run read first, if it read all that the sources speak of; that took `listing_requests`.
        """
        self._context = context
        self._cancellation = context.cancellation
        self._reader = account_reader
        self._desired = desired
        self._listing_requests = listing_requests

    async def verify(self, lanes: Iterable[driver_lane.DriverLane]) -> tuple[Problem, ...]:
        """Read back the drivers that were written, correct the outcomes, and return what is wrong.

        A run that was stopped reads nothing any more: then the replies to its writes decide.
        """
        written = [lane for lane in lanes if lane.was_written]
        problems: list[Problem] = []
        if written and self._cancellation.reason is None:
            try:
                await self._read_back(written)
            except FleetSyncError as error:
                message = f"the changes could not be read back: {error.message}"
                problems.append(Problem("verification", message, code=ProblemCode.NOT_READ_BACK))
        for lane in written:
            lane.interrupt(self._cancellation.reason)  # in case the end of the run cut a repair short
            lane.conclude()
        unread = sorted(lane.driver for lane in written if not lane.was_read_back)
        if unread and not problems:
            more = ["…"] if len(unread) > _MOST_NAMED else []
            named = ", ".join([*unread[:_MOST_NAMED], *more])
            message = f"{humanize.count(len(unread), 'driver')} could not be read back: {named}"
            problems.append(Problem("verification", message, code=ProblemCode.NOT_READ_BACK))
        unconfirmed = sum(lane.is_unconfirmed for lane in written)
        if unconfirmed:
            log.error("not_converging", drivers=unconfirmed)
            message = f"Charge accepted changes of {humanize.count(unconfirmed, 'driver')}, but no reading shows them"
            problems.append(Problem("verification", message, code=ProblemCode.NOT_CONVERGING))
        return (*problems, *(problem for lane in written for problem in lane.problems()))

    async def _read_back(self, lanes: Sequence[driver_lane.DriverLane]) -> None:
        doubtful = list(lanes)
        if self._desired is not None and len(lanes) > self._listing_requests:
            async with self._cancellation.reading():
                listed = await self._reader.read(self._desired)
            doubtful = [lane for lane in doubtful if lane.is_contradicted or not self._is_confirmed(lane, listed)]
        for delay in (0.0, *driver_lane.READ_BACK_DELAYS):
            if not doubtful:
                return
            await self._cancellation.sleep(delay)
            shown = await self._retrieve(doubtful)
            if not shown.memberships and not shown.absent:
                return  # Charge does not answer: the next run reads what became of the changes
            doubtful = await self._settle(doubtful, shown)

    async def _retrieve(self, lanes: Sequence[driver_lane.DriverLane]) -> Actual:
        async with self._cancellation.reading():
            return await self._reader.drivers({lane.driver for lane in lanes})

    async def _settle(self, lanes: Sequence[driver_lane.DriverLane], shown: Actual) -> list[driver_lane.DriverLane]:
        """Repair what other clients removed, and return the lanes that are still in doubt."""
        unsettled = []
        for lane in lanes:
            if lane.driver in shown.absent:
                lane.state.mark_deleted()
            elif not self._is_confirmed(lane, shown, by_listing=False):
                unsettled.append(lane)
        with self._cancellation.writing():
            limit = self._context.options.concurrency
            await concurrency.run_bounded(lambda lane: lane.repair_lost(), unsettled, limit=limit)
        return unsettled

    def _is_confirmed(self, lane: driver_lane.DriverLane, actual: Actual, *, by_listing: bool = True) -> bool:
        """Add a reading to the state of a driver, and return whether it agrees with what was written and is wanted.

        A listing that contradicts is not added: it lags behind more than a GET does.
        """
        fleets = actual.memberships.get(lane.driver)
        if fleets is None:
            return False
        agrees = lane.agrees_with(fleets)
        if agrees or not by_listing:
            lane.state.add_reading(fleets)
        return agrees
