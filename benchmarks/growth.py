"""How CPU time and memory grow with the drivers, rows, changes and fleets of an account.

Invariant: every measurement is a process of its own, without a network; the slope is that of the logarithms, 1 where
the cost is proportional. Neighbours: `large` compares one size with the plainest way to read it.
"""

import gc
import math
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import anyio

from benchmarks import account, large, results
from tests.support import memory_journal
from worker.cli import main as main_command
from worker.core.model.actual import Driver, Fleet, StatedTime
from worker.core.model.desired import (
    DriverById,
    FleetById,
    FleetEntry,
    Mode,
    Origin,
    Row,
    SourceReading,
    SourceRevision,
)
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey
from worker.core.model.plan import Change
from worker.core.model.replies import Cursor, DriverPage, FleetPage, WriteReply
from worker.core.model.rows import Rows
from worker.core.safety import guard
from worker.engine import plan_builder, reader

_GOAL = 1.1
_PAGE = 100
_FOLDER = pathlib.Path(__file__).parent.parent
_ONE = frozenset[FleetId]()


def figures(*, short: bool) -> Iterator[results.Figure]:
    """Measure, and yield the figures."""
    most = 2 if short else 3
    with tempfile.TemporaryDirectory(prefix="fleet-sync-benchmark-") as name:
        folder = pathlib.Path(name)
        for what, sizes in (
            ("drivers, in sync", (10_000, 100_000, 1_000_000)[:most]),
            ("changes, planned", (10_000, 100_000, 1_000_000)[:most]),
            ("fleets of ten drivers", (100, 1_000, 10_000)[:most]),
        ):
            yield from _slopes(what, {size: f"{size}" for size in sizes})
        for suffix in ("json", "csv"):
            documents = {rows: str(_renamed(folder, rows, suffix)) for rows in (10_000, 100_000, 1_000_000)[:most]}
            yield from _slopes(f"rows of {suffix.upper()}", documents)


def _renamed(folder: pathlib.Path, rows: int, suffix: str) -> pathlib.Path:
    return large.document(folder, rows, suffix).rename(folder / f"{rows}.{suffix}")


def _slopes(what: str, arguments: Mapping[int, str]) -> Iterator[results.Figure]:
    measured = {size: _measured(what, argument) for size, argument in arguments.items()}
    for size, (seconds, mebibytes) in measured.items():
        yield results.Figure(f"{size:,} {what}: CPU seconds, MiB", f"{seconds:.2f}, {mebibytes:.0f}")
    (first, (seconds, mebibytes)), (last, (more_seconds, more_mebibytes)) = list(measured.items())[-2:]
    steps = math.log(last / first)
    yield results.at_most("  slope of CPU", math.log(more_seconds / seconds) / steps, _GOAL)
    yield results.at_most("  slope of memory", math.log(more_mebibytes / max(mebibytes, 1.0)) / steps, _GOAL)


def _measured(what: str, argument: str) -> tuple[float, float]:
    """Return the CPU seconds of a piece of work in its own process, and the MiB by which its peak memory grew."""
    program = [sys.executable, "-m", "benchmarks.growth", what, argument]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True, cwd=_FOLDER)
    seconds, mebibytes = done.stdout.split()
    return float(seconds), float(mebibytes)


# --- what is measured, each in a process of its own ----------------------------------------------------------


class _Charge:
    """Implements ports.Charge without a network: `members` of each fleet, and drivers in none."""

    def __init__(self, members: Mapping[FleetId, Sequence[DriverId]], others: Sequence[DriverId] = ()) -> None:
        self._members = members
        self._fleets = list(members)
        self._drivers = [(driver, frozenset({fleet})) for fleet, own in members.items() for driver in own]
        self._drivers += [(driver, _ONE) for driver in others]

    def stated_times(self) -> tuple[StatedTime, ...]:
        return ()

    async def fleets_page(self, cursor: Cursor | None) -> FleetPage:
        start = int(cursor or 0)
        shown = [await self.fleet(fleet) for fleet in self._fleets[start : start + _PAGE]]
        return FleetPage(tuple(shown), self._next(start, len(self._fleets)))

    async def drivers_page(self, cursor: Cursor | None, *, fleet: FleetId | None = None) -> DriverPage:
        start = int(cursor or 0)
        if fleet is None:
            shown = [Driver(driver, fleets) for driver, fleets in self._drivers[start : start + _PAGE]]
            return DriverPage(tuple(shown), self._next(start, len(self._drivers)))
        own = self._members[fleet]
        shown = [Driver(driver, frozenset({fleet})) for driver in own[start : start + _PAGE]]
        return DriverPage(tuple(shown), self._next(start, len(own)))

    async def fleet(self, fleet: FleetId) -> Fleet:
        return Fleet(fleet, str(fleet), total_drivers=len(self._members[fleet]))

    async def driver(self, driver: DriverId) -> Driver:
        return Driver(driver, _ONE)

    async def write(self, change: Change, *, key: IntentKey) -> WriteReply:
        raise AssertionError("planning writes nothing")

    def _next(self, start: int, total: int) -> Cursor | None:
        return Cursor(f"{start + _PAGE}") if start + _PAGE < total else None


class _Source:
    """Implements ports.Source: these memberships are wanted."""

    poll_seconds = 2.0

    def __init__(self, wanted: Mapping[FleetId, Sequence[DriverId]]) -> None:
        self._wanted = wanted

    async def read(self) -> SourceReading:
        entries = tuple(FleetEntry(FleetById(fleet), Origin("rows", 1, 1)) for fleet in self._wanted)
        pairs = ((fleet, driver) for fleet, own in self._wanted.items() for driver in own)
        rows = Rows(
            Row(FleetById(fleet), DriverById(driver), Origin("rows", line, 1))
            for line, (fleet, driver) in enumerate(pairs, 2)
        )
        return SourceReading(SourceRevision("benchmark", "rows", "1"), entries, rows)

    async def peek(self) -> str | None:
        return "1"


def _account(drivers: int, fleets: int) -> dict[FleetId, list[DriverId]]:
    everyone = [DriverId(f"drv_{number:032d}") for number in range(drivers)]
    return {FleetId(f"flt_{number:032d}"): everyone[number::fleets] for number in range(fleets)}


def _drivers(argument: str) -> object:
    members = _account(int(argument), 100)
    return anyio.run(_build, _Charge(members), members)


def _changes(argument: str) -> object:
    wanted = _account(int(argument), 100)
    nobody = {fleet: list[DriverId]() for fleet in wanted}
    return anyio.run(_build, _Charge(nobody, [driver for own in wanted.values() for driver in own]), wanted)


def _fleets(argument: str) -> object:
    members = _account(10 * int(argument), int(argument))
    return anyio.run(_build, _Charge(members), members)


async def _build(charge: _Charge, wanted: Mapping[FleetId, Sequence[DriverId]]) -> plan_builder.PlanResult:
    """Read and plan as `plan` does, and evaluate the guard."""
    executor = account.executor(ceiling=1e9, burst=1_000_000, adaptive=False)
    run = account.context(charge, executor=executor, journal=memory_journal.MemoryJournal(), concurrency=32)
    rules = plan_builder.Rules(Account("http://127.0.0.1/v1", "test"), Mode.EXACT, guard.Limits(), 100.0)
    return await plan_builder.PlanBuilder(run, reader.Reader(run), rules=rules, sources=[_Source(wanted)]).build()


def _rows(argument: str) -> object:
    return large.read_document(argument)


_WORK: Mapping[str, Callable[[str], object]] = {
    "drivers, in sync": _drivers,
    "changes, planned": _changes,
    "fleets of ten drivers": _fleets,
    "rows of JSON": _rows,
    "rows of CSV": _rows,
}


def main(what: str, argument: str) -> None:
    """Do one piece of work, and print its CPU seconds and the MiB by which peak memory grew."""
    gc.set_threshold(main_command.OBJECTS_BETWEEN_COLLECTIONS)
    before, began = large.peak(), time.process_time()
    kept = _WORK[what](argument)
    sys.stdout.write(f"{time.process_time() - began} {large.peak() - before}\n")
    del kept


if __name__ == "__main__":
    main(*sys.argv[1:])
