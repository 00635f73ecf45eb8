"""Reads who is in which fleet: each managed fleet's listing, or all drivers once, whichever is cheaper or quicker.

Invariants: a fleet that fails a check of completeness is read a second time, and is then incomplete, with the reason;
an object that cannot be read makes its own driver unknown and no other. Neighbours: `reader` calls this, `pagination`
follows pages, `core.pacing.listing_choice` chooses the listings, `core.planning.inventory` collects the drivers and
checks completeness.
"""

import dataclasses
import functools
import math
from collections.abc import Collection, Iterable, Mapping

import structlog

from worker.core.model.actual import Actual, Fleet
from worker.core.model.errors import (
    ForeignOrigin,
    KeyForbidden,
    NotFound,
    RateLimited,
    RequestRefused,
    Unreachable,
)
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.ports import Stage
from worker.core.model.replies import DriverPage
from worker.core.pacing import listing_choice
from worker.core.planning import inventory
from worker.core.planning.expected_drivers import ExpectedDrivers
from worker.engine import concurrency, pagination, run_context

log = structlog.get_logger()

CONCERNS_ONE_OBJECT = (Unreachable, RateLimited, RequestRefused, ForeignOrigin)
"""Errors of a single retrieval that say nothing about other objects, 403 among them."""

_UNIDENTIFIED = "it shows an object without a valid id"


@dataclasses.dataclass(frozen=True, slots=True)
class _Listed:
    """What a listing of one fleet shows: how many drivers, which objects it cannot read, and why it is incomplete."""

    count: int
    malformed: frozenset[DriverId]
    broken: str | None


class DriverReader:
    """One reading of drivers."""

    def __init__(
        self,
        context: run_context.RunContext,
        *,
        fleets: Mapping[FleetId, Fleet],
        expected: ExpectedDrivers,
        all_emails: bool = False,
    ) -> None:
        """Start with no driver seen.

        `fleets` are all that were listed, managed or not; `expected` are the drivers that rows name.
        """
        self._charge = context.charge
        self._executor = context.executor
        self._progress = context.progress
        self._options = context.options
        self._fleets = dict(fleets)
        self._expected = expected
        self._all_emails = all_emails
        self._inventory = self._new_inventory()
        self._listed: dict[FleetId, _Listed] = {}
        self._incomplete: dict[FleetId, str] = {}
        self._directory_complete = False

    async def read(self, managed: Collection[FleetId]) -> None:
        """Read the managed fleets, and every driver that a row names by id and that is in none of them."""
        named = self._inventory.expected
        fleets, everyone = self._pages_by_fleet(managed, named), self._pages_of_all(named)
        if self._expected.references:
            await self._read_directory(managed)
        else:
            timing = self._executor.timing(self._options.concurrency)
            if listing_choice.by_fleet(fleets, everyone, timing) or await self._list_all(max_pages=fleets.requests):
                await self._list_each(managed)
            await self._reread_doubtful(managed)
        unreadable = self._inventory.unreadable()
        await self._retrieve_unseen()
        if unreadable - self._inventory.unreadable():
            self._count_again(managed)

    async def read_all(self) -> None:
        """Read all drivers, for all fleets."""
        await self._read_directory(self._fleets.keys())

    async def retrieve(self, drivers: Collection[DriverId]) -> None:
        """Retrieve each of these drivers. One that cannot be read stays unseen."""
        if not drivers:
            return
        self._progress.stage(Stage.READING_DRIVERS, len(drivers))
        await concurrency.run_bounded(self._retrieve, sorted(drivers), limit=self._options.concurrency)

    def actual(self, *, requests: int) -> Actual:
        """Return what was read."""
        return self._inventory.actual(
            fleets=self._fleets,
            incomplete=self._incomplete,
            directory_complete=self._directory_complete,
            requests=requests,
        )

    async def _retrieve_unseen(self) -> None:
        """Retrieve the drivers that are named and were not seen, the first few of them as a test of the directory.

        If the complete list of all drivers lacks only drivers that do not exist, the others need not be asked for.
        """
        unseen = self._inventory.unseen()
        first, rest = unseen[: self._options.page_size], unseen[self._options.page_size :]
        await self.retrieve(first)
        if rest and self._directory_complete:
            if not any(map(self._inventory.has_seen, first)):
                return
            log.warning("listing_broken", listing="drivers", reason="it left out drivers that exist")
            self._directory_complete = False
        await self.retrieve(rest)

    def _pages_by_fleet(self, managed: Iterable[FleetId], named: int) -> listing_choice.Pages:
        """Return what it takes to list each fleet, and to retrieve drivers that cannot be in any yet."""
        totals = [self._fleets[fleet].total_drivers or 0 for fleet in managed]
        chains = [max(1, math.ceil(total / self._options.page_size)) for total in totals]
        return listing_choice.Pages(sum(chains) + max(0, named - sum(totals)), max(chains, default=0))

    def _pages_of_all(self, named: int) -> listing_choice.Pages:
        """Estimate what it takes to list all drivers: those in no fleet appear in no total."""
        known = sum(fleet.total_drivers or 0 for fleet in self._fleets.values())
        pages = max(1, math.ceil(max(known, named) / self._options.page_size))
        return listing_choice.Pages(pages, pages)

    async def _read_directory(self, managed: Collection[FleetId]) -> None:
        """Read all drivers and the managed fleets; once more if a fleet shows a driver that the list left out."""
        for _ in range(2):
            self._listed, self._incomplete = {}, {}
            await self._list_all_or_each(managed)
            ended = self._directory_complete
            await self._reread_doubtful(managed)
            if self._directory_complete or not ended:
                return

    async def _list_all_or_each(self, managed: Collection[FleetId]) -> None:
        """List all drivers, because references need it; if that fails twice, at least the managed fleets."""
        for _ in range(2):
            # Start anew: drivers from a broken listing would count as nothing new, and may have moved meanwhile.
            self._inventory = self._new_inventory()
            reason = await self._list_all()
            if reason is None:
                return
            log.warning("listing_broken", listing="drivers", reason=reason)
        await self._list_each(managed)

    async def _list_all(self, *, max_pages: int = pagination.MAX_PAGES) -> str | None:
        """List all drivers into the inventory. Return the reason why that failed, or None."""
        self._progress.stage(Stage.READING_ALL_DRIVERS, None)
        unidentified = 0
        try:
            pages = pagination.paginate(
                self._executor, self._charge.drivers_page, collected=self._inventory.count, max_pages=max_pages
            )
            async for page in pages:
                self._add_page(page, self._inventory)
                unidentified += page.unidentified
                self._progress.step(len(page.drivers))
        except pagination.IncompleteListing as broken:
            if broken.forbidden:
                raise _key_forbidden("drivers", broken) from broken
            self._directory_complete = False
            return broken.reason
        self._directory_complete = not unidentified
        return _UNIDENTIFIED if unidentified else None

    async def _list_each(self, fleets: Collection[FleetId]) -> None:
        """List each of these fleets, side by side."""
        self._listed.update(await self._list_fleets(fleets, self._inventory))

    async def _list_fleets(self, fleets: Collection[FleetId], found: inventory.Inventory) -> dict[FleetId, _Listed]:
        self._progress.stage(Stage.READING_FLEET_DRIVERS, len(fleets))
        listed: dict[FleetId, _Listed] = {}

        async def list_one(fleet: FleetId) -> None:
            listed[fleet] = await self._list_fleet(fleet, found)
            self._progress.step()

        await concurrency.run_bounded(list_one, sorted(fleets), limit=self._options.concurrency)
        return listed

    async def _list_fleet(self, fleet: FleetId, found: inventory.Inventory) -> _Listed:
        fetch = functools.partial(self._charge.drivers_page, fleet=fleet)
        drivers: set[DriverId] = set()
        malformed: set[DriverId] = set()
        broken = None
        try:
            pages = pagination.paginate(self._executor, fetch, collected=lambda: len(drivers) + len(malformed))
            async for page in pages:
                drivers.update(found.expected_id(driver.id) for driver in page.drivers)  # before they are seen
                self._add_page(page, found)
                malformed.update(page.malformed)
                if page.unidentified:
                    broken = _UNIDENTIFIED
        except pagination.IncompleteListing as incomplete:
            broken = incomplete.reason
        # Decided now, not at the end: if a driver is shown in another way later, its fleets are contradicted.
        if broken is None and not found.agrees(fleet, drivers):
            broken = inventory.DISAGREEMENT
        return _Listed(len(drivers), frozenset(malformed), broken)

    def _add_page(self, page: DriverPage, found: inventory.Inventory) -> None:
        for driver in page.drivers:
            found.add(driver)
        for malformed in page.malformed:
            log.warning("driver_unread", driver=malformed, error="its object is malformed")
            found.add_unreadable(malformed)

    async def _reread_doubtful(self, managed: Collection[FleetId]) -> None:
        """Read every fleet that fails a check a second time; one that fails again is incomplete."""
        if not (doubts := self._doubts(managed, self._inventory, self._listed)):
            return
        log.info("fleets_read_again", fleets=doubts)
        await concurrency.run_bounded(self._refresh, sorted(doubts), limit=self._options.concurrency)
        references = dataclasses.replace(self._expected, by_id=())
        later = inventory.Inventory(references, all_emails=self._all_emails)
        listed = await self._list_fleets(doubts, later)
        self._incomplete = self._doubts(doubts, later, listed, final=True)
        if self._inventory.merge(later) and self._directory_complete:
            log.warning("listing_broken", listing="drivers", reason="a fleet shows drivers that it left out")
            self._directory_complete = False
        self._inventory.replace_fleets(later, doubts.keys() - self._incomplete.keys())
        self._listed.update(listed)
        for fleet, reason in self._incomplete.items():
            log.warning("fleet_incomplete", fleet=fleet, reason=reason)

    def _doubts(
        self,
        fleets: Collection[FleetId],
        found: inventory.Inventory,
        listed: Mapping[FleetId, _Listed],
        *,
        final: bool = False,
    ) -> dict[FleetId, str]:
        """Return the fleets that were not read completely, with the reason."""
        sizes, doubts = found.sizes(), {}
        for fleet in sorted(fleets):
            own = listed.get(fleet)
            reason = (own.broken if own else None) or found.incompleteness_reason(
                self._fleets[fleet],
                count=sizes.get(fleet, 0),
                listed=own.count if own else None,
                malformed=own.malformed if own else None,
                final=final,
            )
            if reason:
                doubts[fleet] = reason
        return doubts

    def _count_again(self, managed: Collection[FleetId]) -> None:
        """Check the totals again, now that drivers which might have been in any fleet have been read."""
        sizes = self._inventory.sizes()
        for fleet in sorted(set(managed) - self._incomplete.keys()):
            own = self._listed.get(fleet)
            reason = self._inventory.total_reason(
                self._fleets[fleet], count=sizes.get(fleet, 0), malformed=own.malformed if own else None, final=True
            )
            if reason:
                log.warning("fleet_incomplete", fleet=fleet, reason=reason)
                self._incomplete[fleet] = reason

    async def _refresh(self, fleet: FleetId) -> None:
        """Retrieve a fleet again: its `total_drivers` may have changed since the first reading."""
        try:
            self._fleets[fleet] = await self._executor.execute(lambda: self._charge.fleet(fleet))
        except CONCERNS_ONE_OBJECT as error:
            log.warning("fleet_unread", fleet=fleet, error=error.message)

    async def _retrieve(self, driver: DriverId) -> None:
        try:
            self._inventory.add(await self._executor.execute(lambda: self._charge.driver(driver)))
        except NotFound:
            self._inventory.add_absent(driver)
        except CONCERNS_ONE_OBJECT as error:
            log.warning("driver_unread", driver=driver, error=error.message)
        self._progress.step()

    def _new_inventory(self) -> inventory.Inventory:
        return inventory.Inventory(self._expected, all_emails=self._all_emails)


def _key_forbidden(listing: str, broken: pagination.IncompleteListing) -> KeyForbidden:
    request_id = broken.cause.request_id if broken.cause else None
    return KeyForbidden(f"the key may not list {listing}: {broken.reason}", status=403, request_id=request_id)
