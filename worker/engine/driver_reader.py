"""Reads who is in which fleet: each managed fleet's listing, or all drivers once, whichever costs fewer requests.

Invariant: a fleet that fails a check of completeness is read a second time, and then named incomplete, with the reason.
Neighbours: `reading` asks for this, `listing` follows pages, `core.found` collects and judges.
"""

import dataclasses
import functools
import math
from collections.abc import Collection, Iterable, Mapping

import structlog

from worker.core.model.actual import Actual, Fleet
from worker.core.model.desired import DriverById, DriverRef
from worker.core.model.errors import ForeignOrigin, NotFound, RateLimited, RequestRefused, Unreachable
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.ports import Charge, DriverPage, Progress, Stage
from worker.core.planning import inventory
from worker.engine import concurrency, pagination, request_executor

log = structlog.get_logger()

_ABOUT_ONE = (Unreachable, RateLimited, RequestRefused, ForeignOrigin)
"""What a lookup may end in without a word about the others; but a 403 is about the key."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Listed:
    """What a listing of one fleet showed, and why it broke off, if it did."""

    drivers: frozenset[DriverId] | None
    broken: str | None


class DriverReader:
    """One reading of drivers; `references` are the drivers that rows name, in whatever way."""

    def __init__(
        self,
        *,
        charge: Charge,
        executor: request_executor.RequestExecutor,
        progress: Progress,
        page_size: int,
        concurrency: int,
        fleets: Mapping[FleetId, Fleet],
        references: Collection[DriverRef],
        all_emails: bool = False,
    ) -> None:
        """Start with nobody seen; `fleets` are all that were listed, managed or not."""
        self._charge = charge
        self._executor = executor
        self._progress = progress
        self._page_size = page_size
        self._concurrency = concurrency
        self._fleets = dict(fleets)
        self._references = references
        self._all_emails = all_emails
        self._inventory = self._nobody()
        self._listed: dict[FleetId, _Listed] = {}
        self._incomplete: dict[FleetId, str] = {}
        self._directory_complete = False

    async def read(self, managed: Collection[FleetId]) -> None:
        """Read the managed fleets, and every driver that is named by its id and was not among them."""
        named = {reference.id for reference in self._references if isinstance(reference, DriverById)}
        by_fleet = self._cost_by_fleet(managed, len(named))
        if len(named) < len(self._references):
            await self._read_directory(managed)
        else:
            if self._cost_of_all(len(named)) >= by_fleet or await self._list_all(cap=by_fleet):
                await self._list_each(managed)
            await self._settle(managed)
        await self._look_for(named)

    async def _look_for(self, named: Collection[DriverId]) -> None:
        """Retrieve who was named and not seen; a whole list that lacks a first few may well lack them all."""
        unseen = self._inventory.unseen(named)
        first, rest = unseen[: self._page_size], unseen[self._page_size :]
        await self.retrieve(first)
        if rest and self._directory_complete:
            if self._inventory.unseen(first) == first:
                return
            log.warning("listing_broken", listing="drivers", reason="it left out drivers that there are")
            self._directory_complete = False
        await self.retrieve(rest)

    async def read_all(self) -> None:
        """Read all drivers, for all fleets."""
        await self._read_directory(self._fleets.keys())

    async def retrieve(self, drivers: Collection[DriverId]) -> None:
        """Retrieve each of these drivers. One that cannot be read stays unseen."""
        if not drivers:
            return
        self._progress.stage(Stage.READING_DRIVERS, len(drivers))
        await concurrency.run_bounded(self._retrieve, sorted(drivers), limit=self._concurrency)

    def actual(self, *, requests: int) -> Actual:
        """Hand over what was read."""
        return self._inventory.actual(
            fleets=self._fleets,
            incomplete=self._incomplete,
            directory_complete=self._directory_complete,
            requests=requests,
        )

    def _cost_by_fleet(self, managed: Iterable[FleetId], named: int) -> int:
        """Count the requests of listing each fleet, and of retrieving drivers that cannot be in any of them yet."""
        totals = [self._fleets[fleet].total_drivers or 0 for fleet in managed]
        return sum(max(1, math.ceil(total / self._page_size)) for total in totals) + max(0, named - sum(totals))

    def _cost_of_all(self, named: int) -> int:
        """Estimate the requests of listing all drivers: those in no fleet show up in no figure beforehand."""
        known = sum(fleet.total_drivers or 0 for fleet in self._fleets.values())
        return max(1, math.ceil(max(known, named) / self._page_size))

    async def _read_directory(self, managed: Collection[FleetId]) -> None:
        """Read all drivers and the managed fleets; once more where a fleet shows somebody whom the list left out."""
        for _ in range(2):
            self._listed, self._incomplete = {}, {}
            await self._list_all_or_each(managed)
            ended = self._directory_complete
            await self._settle(managed)
            if self._directory_complete or not ended:
                return

    async def _list_all_or_each(self, managed: Collection[FleetId]) -> None:
        """List all drivers, as references need it; where that fails twice, at least the managed fleets."""
        for _ in range(2):
            self._inventory = self._nobody()  # whom a broken listing showed would be nobody new, and may have moved
            reason = await self._list_all()
            if reason is None:
                return
            log.warning("listing_broken", listing="drivers", reason=reason)
        await self._list_each(managed)

    async def _list_all(self, *, cap: int = pagination.MAX_PAGES) -> str | None:
        """List all drivers into the found; give the reason why that failed, or None."""
        self._progress.stage(Stage.READING_ALL_DRIVERS, None)
        broken = await pagination.paginate(
            self._executor, self._charge.drivers_page, self._take, seen=self._inventory.count, cap=cap
        )
        self._directory_complete = broken is None
        return broken.reason if broken else None

    async def _list_each(self, fleets: Collection[FleetId]) -> None:
        """List each of these fleets, side by side."""
        self._listed.update(await self._listings(fleets, self._inventory))

    async def _listings(self, fleets: Collection[FleetId], found: inventory.Inventory) -> dict[FleetId, _Listed]:
        self._progress.stage(Stage.READING_FLEET_DRIVERS, len(fleets))
        listed: dict[FleetId, _Listed] = {}

        async def read(fleet: FleetId) -> None:
            drivers: set[DriverId] = set()

            def take(page: DriverPage) -> None:
                drivers.update(driver.id for driver in page.drivers)
                for driver in page.drivers:
                    found.add(driver)

            fetch = functools.partial(self._charge.drivers_page, fleet=fleet)
            broken = await pagination.paginate(self._executor, fetch, take, seen=lambda: len(drivers))
            listed[fleet] = _Listed(frozenset(drivers), broken.reason if broken else None)
            self._progress.step()

        await concurrency.run_bounded(read, sorted(fleets), limit=self._concurrency)
        return listed

    async def _settle(self, managed: Collection[FleetId]) -> None:
        """Read every fleet that cannot be trusted a second time; what is still doubtful then is incomplete."""
        if not (doubts := self._doubts(managed, self._inventory, self._listed)):
            return
        log.info("fleets_read_again", fleets=doubts)
        await concurrency.run_bounded(self._refresh, sorted(doubts), limit=self._concurrency)
        later = self._nobody()
        listed = await self._listings(doubts, later)
        self._incomplete = self._doubts(doubts, later, listed, final=True)
        if self._inventory.merge(later) and self._directory_complete:
            log.warning("listing_broken", listing="drivers", reason="a fleet shows drivers that it left out")
            self._directory_complete = False
        for fleet in sorted(doubts.keys() - self._incomplete.keys()):
            self._inventory.replace_fleet(later, fleet)
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
        """Give each of these fleets that was not seen whole the reason."""
        sizes, doubts = found.sizes(), {}
        for fleet in sorted(fleets):
            own = listed.get(fleet, _Listed(None, None))
            shown = self._fleets[fleet]
            reason = own.broken or found.incompleteness_reason(
                shown, count=sizes.get(fleet, 0), listed=own.drivers, final=final
            )
            if reason:
                doubts[fleet] = reason
        return doubts

    async def _refresh(self, fleet: FleetId) -> None:
        """Retrieve a fleet again, as its `total_drivers` may have changed meanwhile."""
        try:
            self._fleets[fleet] = await self._executor.send(lambda: self._charge.fleet(fleet))
        except _ABOUT_ONE as error:
            if error.status == 403:
                raise
            log.warning("fleet_unread", fleet=fleet, error=error.message)

    async def _retrieve(self, driver: DriverId) -> None:
        try:
            self._inventory.add(await self._executor.send(lambda: self._charge.driver(driver)))
        except NotFound:
            self._inventory.add_absent(driver)
        except _ABOUT_ONE as error:
            if error.status == 403:
                raise
            log.warning("driver_unread", driver=driver, error=error.message)
        self._progress.step()

    def _nobody(self) -> inventory.Inventory:
        return inventory.Inventory(self._references, all_emails=self._all_emails)

    def _take(self, page: DriverPage) -> None:
        for driver in page.drivers:
            self._inventory.add(driver)
        self._progress.step(len(page.drivers))
