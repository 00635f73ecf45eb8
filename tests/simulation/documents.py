"""What the sources say: drawn from what the account holds, edited between runs, sometimes broken.

Invariant: a reading is never empty, as no source may give an empty one: an empty or broken source fails.
Neighbours: `draw` asks for the first state, `world` has it edited, `truth` says what it means.
"""

import dataclasses
import datetime
import random
from collections.abc import Sequence

from tests.simulation import audit, fault_points
from worker.core.model.desired import (
    DriverByEmail,
    DriverById,
    DriverByMetadata,
    DriverRef,
    FleetById,
    FleetByName,
    FleetEntry,
    FleetRef,
    Mode,
    Origin,
    Row,
    SourceReading,
    SourceRevision,
)
from worker.core.model.errors import SourceError
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.problem import Problem

NOBODY = DriverByEmail("nobody@example.com")
NOWHERE = FleetByName("Nowhere")


class Shelf:
    """The sources of an account as they stand now."""

    def __init__(
        self, held: audit.RecordedState, boundaries: Sequence[datetime.datetime], chance: random.Random
    ) -> None:
        """Write documents about an account; dated rows begin and end at `boundaries`."""
        self._roster = held
        self._boundaries = boundaries
        self._chance = chance
        self._edits = 0
        self._amiss = chance.random() < 0.3
        self._named = chance.random() < 0.6
        self.broken: str | None = None
        fleets = sorted(held.fleets)
        managed = chance.sample(fleets, max(1, len(fleets) - (chance.random() < 0.5) - (chance.random() < 0.2)))
        self._entries: list[tuple[FleetRef, Mode | None]] = []
        self._rows: list[tuple[FleetRef, DriverRef, tuple[datetime.datetime | None, ...]]] = []
        churn = chance.choice((0.1, 0.2, 0.4, 0.7, 1.0))
        for fleet in sorted(managed):
            named = self._fleet(fleet)
            self._entries.append((named, chance.choice((None, None, None, None, *Mode))))
            for driver in sorted(held.members(fleet)):
                if chance.random() >= churn / 2:
                    self._wish(named, driver)
            for driver in sorted(held.drivers):
                if driver not in held.members(fleet) and chance.random() < churn / 4:
                    self._wish(named, driver)
        if self._amiss and chance.random() < 0.3:
            self._entries.append((NOWHERE, None))
        self._split = chance.random() < 0.3

    def edit(self) -> None:
        """Change something, as an operator does."""
        self._edits += 1
        for _ in range(self._chance.randint(1, 4)):
            kind = self._chance.choice(("add", "add", "drop", "drop", "move", "move", "mode", "manage", "leave"))
            getattr(self, f"_{kind}")()

    def mend(self) -> None:
        """Make every source readable again."""
        self.broken = None

    def spoil(self) -> None:
        """Break a source, or empty it."""
        self.broken = self._chance.choice(("it is gone", "it is empty"))

    @property
    def revision(self) -> str:
        """Return what changes with every edit."""
        return str(self._edits)

    def readings(self) -> list[SourceReading]:
        """Give what the sources say."""
        parts: list[list[int]] = [[], []]
        for number in range(len(self._rows)):
            parts[number % 2 if self._split else 0].append(number)
        return [
            self._reading(f"source-{place}.yaml", rows, first=place == 0)
            for place, rows in enumerate(parts)
            if rows or place == 0
        ]

    def _reading(self, name: str, rows: list[int], *, first: bool) -> SourceReading:
        chosen = [self._rows[number] for number in rows]
        entries = self._entries if first else [(fleet, None) for fleet in dict.fromkeys(row[0] for row in chosen)]
        return SourceReading(
            SourceRevision("file", name, f"sha256:{self._edits}"),
            tuple(FleetEntry(fleet, Origin(name, line, 1), mode) for line, (fleet, mode) in enumerate(entries, 1)),
            tuple(
                Row(fleet, driver, Origin(name, 1000 + line, 5), starts, ends)
                for line, (fleet, driver, (starts, ends)) in enumerate(chosen, 1)
            ),
        )

    def _fleet(self, fleet: str) -> FleetRef:
        name = self._roster.fleets[fleet].name
        shared = sum(other.name == name for other in self._roster.fleets.values()) > 1
        if self._chance.random() < 0.5 or (shared and not self._amiss):
            return FleetById(FleetId(fleet))
        return FleetByName(name)

    def _driver(self, driver: str) -> DriverRef:
        person = self._roster.drivers[driver]
        kind = self._chance.choice(("id", "id", "email", "metadata") if self._named else ("id",))
        if self._amiss and self._chance.random() < 0.1:
            return self._chance.choice(
                (NOBODY, DriverById(DriverId(f"drv_{'Z' * 32}")), DriverByMetadata("depot", "1"))
            )
        match kind:
            case "email":
                return DriverByEmail(person.email.lower())
            case "metadata":
                return DriverByMetadata("employee_id", person.metadata["employee_id"])
            case _:
                return DriverById(DriverId(driver))

    def _wish(self, fleet: FleetRef, driver: str) -> None:
        starts = self._chance.choice(self._boundaries) if self._chance.random() < 0.1 else None
        ends = self._chance.choice(self._boundaries) if self._chance.random() < 0.1 else None
        self._rows.append((fleet, self._driver(driver), (starts, ends)))

    def _add(self) -> None:
        if self._roster.drivers:
            fleet, _ = self._chance.choice(self._entries)
            self._wish(fleet, self._chance.choice(sorted(self._roster.drivers)))

    def _drop(self) -> None:
        if self._rows:
            self._rows.pop(self._chance.randrange(len(self._rows)))

    def _move(self) -> None:
        if self._rows:
            place = self._chance.randrange(len(self._rows))
            _, driver, dates = self._rows[place]
            self._rows[place] = (self._chance.choice(self._entries)[0], driver, dates)

    def _mode(self) -> None:
        place = self._chance.randrange(len(self._entries))
        self._entries[place] = (self._entries[place][0], self._chance.choice((None, *Mode)))

    def _manage(self) -> None:
        listed = {fleet for fleet, _ in self._entries}
        fleet = self._fleet(self._chance.choice(sorted(self._roster.fleets)))
        if fleet not in listed:
            self._entries.append((fleet, None))

    def _leave(self) -> None:
        if len(self._entries) > 1 and self._chance.random() < 0.5:
            fleet, _ = self._entries.pop(self._chance.randrange(len(self._entries)))
            self._rows = [row for row in self._rows if row[0] != fleet]


@dataclasses.dataclass
class Source:
    """Implements ports.Source: reads one document off the shelf."""

    shelf: Shelf
    place: int
    life: fault_points.FaultPoints
    run: audit.Run

    async def read(self) -> SourceReading:
        """Read it whole, or fail."""
        self.life.point("source")
        if self.shelf.broken:
            self.run.source_failed = True
            raise SourceError([Problem(f"source-{self.place}.yaml", self.shelf.broken)])
        readings = self.shelf.readings()
        if self.place >= len(readings):
            self.run.source_failed = True
            raise SourceError([Problem(f"source-{self.place}.yaml", "it is empty")])
        reading = readings[self.place]
        self.run.readings.append(reading)
        return reading

    async def peek(self) -> str | None:
        """Return the revision of the shelf, or fail if a source is broken."""
        if self.shelf.broken:
            raise SourceError([Problem(f"source-{self.place}.yaml", self.shelf.broken)])
        return self.shelf.revision
