"""Reads what Charge holds: the managed fleets whole, and every driver that a row names.

Invariant: what could not be read is said to be so, and never taken for absent. What is listed is what costs fewer
requests. Neighbours: `rosters` reads the drivers, `listing` follows pages, `core.census` judges completeness.
"""

import functools
from collections.abc import Collection, Mapping

import structlog

from worker.core.model.actual import Actual, Fleet
from worker.core.model.desired import Desired, DriverRef, FleetById, FleetRef
from worker.core.model.errors import NotFound, ReadingError, Unreachable
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.ports import Charge, FleetPage, Progress, Stage
from worker.core.planning import resolver
from worker.engine import concurrency, driver_reader, pagination, request_executor

log = structlog.get_logger()


class Reader:
    """Reads for one run."""

    def __init__(
        self,
        *,
        charge: Charge,
        executor: request_executor.RequestExecutor,
        progress: Progress,
        page_size: int,
        concurrency: int = concurrency.DEFAULT_CONCURRENCY,
        must_see: Collection[FleetId] = (),
    ) -> None:
        """Take the API, the run's sender, how many drivers a page holds, and fleets to be read though unmanaged.

        `concurrency` is at most the number of connections: who got a turn and then queued would go late, in a bunch.
        """
        self._concurrency = concurrency
        self._must_see = frozenset(must_see)
        self._charge = charge
        self._executor = executor
        self._progress = progress
        self._page_size = page_size

    async def read(self, desired: Desired) -> Actual:
        """Read everything that planning needs to know.

        Raises errors.ChargeError where nothing can be read at all, errors.ReadingError where the fleets cannot.
        """
        before = self._executor.requests
        references = {entry.fleet for entry in desired.fleets}
        fleets = await self._fleets(references | {FleetById(fleet) for fleet in self._must_see})
        managed = resolver.resolved_ids(resolver.resolve_fleets(references, fleets).values()) | (
            self._must_see & fleets.keys()
        )
        found = self._rosters(fleets, drivers={row.driver for row in desired.rows})
        await found.read(managed)
        return found.actual(requests=self._executor.requests - before)

    async def export(self) -> Actual:
        """Read all fleets and all drivers, with every e-mail address.

        Raises errors.ReadingError where a fleet, or the list of all drivers, was not seen whole.
        """
        before = self._executor.requests
        found = self._rosters(await self._fleets(None), drivers=(), all_emails=True)
        await found.read_all()
        actual = found.actual(requests=self._executor.requests - before)
        if actual.incomplete or not actual.directory_complete:
            reasons = [f"{fleet}: {reason}" for fleet, reason in sorted(actual.incomplete.items())]
            message = "\n  ".join(["what Charge holds could not be read whole, so nothing is exported", *reasons])
            raise ReadingError(message, remedy="Try again when nobody else is changing memberships.")
        return actual

    async def drivers(self, drivers: Collection[DriverId]) -> Actual:
        """Retrieve just these drivers; one that cannot be read is neither seen nor absent."""
        found = self._rosters({}, drivers=())
        await found.retrieve(drivers)
        return found.actual(requests=len(drivers))

    async def has_any_fleet(self, fleets: Collection[FleetId]) -> bool:
        """Return whether Charge has one of these fleets. Retrieves one after the other, until one exists."""
        for fleet in sorted(fleets):
            try:
                await self._executor.send(functools.partial(self._charge.fleet, fleet))
            except NotFound:
                continue
            return True
        return False

    def _rosters(
        self,
        fleets: Mapping[FleetId, Fleet],
        *,
        drivers: Collection[DriverRef],
        all_emails: bool = False,
    ) -> driver_reader.DriverReader:
        return driver_reader.DriverReader(
            charge=self._charge,
            executor=self._executor,
            progress=self._progress,
            page_size=self._page_size,
            concurrency=self._concurrency,
            fleets=fleets,
            references=drivers,
            all_emails=all_emails,
        )

    async def _fleets(self, references: Collection[FleetRef] | None) -> dict[FleetId, Fleet]:
        """List the fleets: all of them where a name is asked for, else until those asked for were seen."""
        self._progress.stage(Stage.READING_FLEETS, None)
        fleets: dict[FleetId, Fleet] = {}
        asked = {reference.id for reference in references or () if isinstance(reference, FleetById)}
        by_id = references is not None and len(asked) == len(references)

        def take(page: FleetPage) -> bool:
            fleets.update((fleet.id, fleet) for fleet in page.fleets)
            return not by_id or not asked <= fleets.keys()

        if broken := await pagination.paginate(
            self._executor, self._charge.fleets_page, take, seen=lambda: len(fleets)
        ):
            cause = broken.cause or ReadingError("", code="fleets_unreadable", remedy=Unreachable.remedy)
            request = f" ({broken.cause.request_id})" if broken.cause and broken.cause.request_id else ""
            message = f"the list of fleets cannot be read: {broken.reason}{request}"
            raise ReadingError(message, code=cause.code, remedy=cause.remedy)
        for fleet in sorted(asked - fleets.keys()):
            # The list may leave some out (archived ones, say); only a 404 means that there is none.
            try:
                fleets[fleet] = await self._executor.send(functools.partial(self._charge.fleet, fleet))
            except NotFound:
                log.debug("fleet_absent", fleet=fleet)
        return fleets
