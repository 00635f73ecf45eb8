"""Reads what Charge holds: the managed fleets completely, and every driver that a row names.

Invariant: an object that could not be read is unknown, never absent. Neighbours: `driver_reader` reads the drivers,
`pagination` follows pages, `core.planning.inventory` checks completeness.
"""

import contextlib
import functools
from collections.abc import Collection, Mapping

import structlog

from worker.core.model.actual import Actual, Fleet
from worker.core.model.desired import Desired, FleetById, FleetRef
from worker.core.model.errors import KeyForbidden, NotFound, ReadingError, RequestRefused, Unreachable
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.ports import Stage
from worker.core.planning import resolver
from worker.core.planning.expected_drivers import ExpectedDrivers
from worker.engine import driver_reader, pagination, run_context

log = structlog.get_logger()


class Reader:
    """Reads for one run."""

    def __init__(self, context: run_context.RunContext) -> None:
        """Take the run."""
        self._context = context
        self._executor = context.executor
        self._charge = context.charge

    async def read(self, desired: Desired, *, all_names: bool = True) -> Actual:
        """Read everything that planning needs. Without `all_names`, a large account's drivers in sync have none.

        Raises errors.ChargeError if nothing can be read at all, errors.ReadingError if the fleets cannot.
        """
        before = self._executor.requests
        references = {entry.fleet for entry in desired.fleets}
        must_see = self._context.options.must_see
        fleets = await self._read_fleets(references | {FleetById(fleet) for fleet in must_see})
        managed = resolver.resolved_ids(resolver.resolve_fleets(references, fleets).values())
        expected = ExpectedDrivers.of(desired)
        drivers = self._driver_reader(fleets, expected if all_names else expected.knowing(desired, fleets))
        await drivers.read(managed | (must_see & fleets.keys()))
        return drivers.actual(requests=self._executor.requests - before)

    async def export(self) -> Actual:
        """Read all fleets and all drivers, with every e-mail address.

        Raises errors.ReadingError if a fleet, or the list of all drivers, could not be read completely.
        """
        before = self._executor.requests
        drivers = self._driver_reader(await self._read_fleets(None), all_emails=True)
        await drivers.read_all()
        actual = drivers.actual(requests=self._executor.requests - before)
        if actual.incomplete or actual.unreadable or not actual.directory_complete:
            reasons = [f"{fleet}: {reason}" for fleet, reason in sorted(actual.incomplete.items())]
            reasons += [f"{driver}: its object is malformed" for driver in sorted(actual.unreadable)]
            message = "\n  ".join(["what Charge holds could not be read completely; nothing is exported", *reasons])
            raise ReadingError(message, remedy="Try again when no other client is changing memberships.")
        return actual

    async def drivers(self, drivers: Collection[DriverId]) -> Actual:
        """Retrieve just these drivers; one that cannot be read is neither seen nor absent."""
        found = self._driver_reader({})
        await found.retrieve(drivers)
        return found.actual(requests=len(drivers))

    async def has_any_fleet(self, fleets: Collection[FleetId]) -> bool:
        """Return whether Charge has one of these fleets. Retrieves one after the other, until one exists."""
        for fleet in sorted(fleets):
            try:
                await self._executor.execute(functools.partial(self._charge.fleet, fleet))
            except NotFound:
                continue
            return True
        return False

    def _driver_reader(
        self,
        fleets: Mapping[FleetId, Fleet],
        expected: ExpectedDrivers = ExpectedDrivers(),  # noqa: B008 - a value without a state
        *,
        all_emails: bool = False,
    ) -> driver_reader.DriverReader:
        return driver_reader.DriverReader(self._context, fleets=fleets, expected=expected, all_emails=all_emails)

    async def _read_fleets(self, references: Collection[FleetRef] | None) -> dict[FleetId, Fleet]:
        """List the fleets: all of them if a name is asked for, else until those asked for were seen."""
        self._context.progress.stage(Stage.READING_FLEETS, None)
        asked = {reference.id for reference in references or () if isinstance(reference, FleetById)}
        by_id = references is not None and len(asked) == len(references)
        fleets = await self._list_fleets(until=asked if by_id else None)
        for fleet in sorted(asked - fleets.keys()):
            await self._retrieve_fleet(fleet, fleets)
        return fleets

    async def _list_fleets(self, *, until: Collection[FleetId] | None) -> dict[FleetId, Fleet]:
        """List all fleets, or those up to the page on which the last of `until` appears."""
        fleets: dict[FleetId, Fleet] = {}
        pages = pagination.paginate(self._executor, self._charge.fleets_page, collected=lambda: len(fleets))
        try:
            async with contextlib.aclosing(pages):
                async for page in pages:
                    fleets.update((fleet.id, fleet) for fleet in page.fleets)
                    # A fleet that cannot be read exists, but nothing in it is known.
                    fleets.update((fleet, Fleet(fleet)) for fleet in page.malformed if fleet not in fleets)
                    if page.unidentified and until is None:
                        raise pagination.IncompleteListing("it shows an object without a valid id")
                    if until is not None and fleets.keys() >= set(until):
                        break
        except pagination.IncompleteListing as broken:
            raise _unreadable(broken) from broken
        return fleets

    async def _retrieve_fleet(self, fleet: FleetId, fleets: dict[FleetId, Fleet]) -> None:
        """Retrieve a fleet that the list left out, an archived one for instance. Only a 404 means that it is absent."""
        try:
            fleets[fleet] = await self._executor.execute(functools.partial(self._charge.fleet, fleet))
        except NotFound:
            log.debug("fleet_absent", fleet=fleet)
        except RequestRefused as error:
            log.warning("fleet_unread", fleet=fleet, error=error.message)
            fleets[fleet] = Fleet(fleet)


def _unreadable(broken: pagination.IncompleteListing) -> ReadingError | KeyForbidden:
    """Return the error for a list of fleets that could not be read."""
    cause = broken.cause
    request = f" ({cause.request_id})" if cause and cause.request_id else ""
    message = f"the list of fleets cannot be read: {broken.reason}{request}"
    if broken.forbidden:
        return KeyForbidden(message, status=403, request_id=cause.request_id if cause else None)
    if cause is None:
        return ReadingError(message, code="fleets_unreadable", remedy=Unreachable.remedy)
    return ReadingError(message, code=cause.code, remedy=cause.remedy)
