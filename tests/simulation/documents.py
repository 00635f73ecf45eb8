"""The documents of an account: drawn from its memberships, edited from time to time, sometimes unreadable.

Invariant: a reading is never empty, because an empty or broken source fails. Neighbours: `world` edits the documents,
`expected_state` says what they ask for.
"""

import copy
import dataclasses
import datetime
import random
from collections.abc import Sequence

import trio

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

NO_DRIVER = DriverByEmail("nobody@example.com")
NO_FLEET = FleetByName("Nowhere")


class SourceFolder:
    """The current documents of one host. `versions` has every version, with the event loop's time since when."""

    def __init__(
        self, account: audit.RecordedState, boundaries: Sequence[datetime.datetime], chance: random.Random
    ) -> None:
        """Write documents about an account. Dated rows start and end at `boundaries`."""
        self._account = account
        self._boundaries = boundaries
        self._chance = chance
        self._edits = 0
        self._has_bad_references = chance.random() < 0.3
        self._has_names = chance.random() < 0.6
        self.broken: str | None = None
        fleets = sorted(account.fleets)
        managed = chance.sample(fleets, max(1, len(fleets) - (chance.random() < 0.5) - (chance.random() < 0.2)))
        self._entries: list[tuple[FleetRef, Mode | None]] = []
        self._rows: list[tuple[FleetRef, DriverRef, tuple[datetime.datetime | None, ...]]] = []
        churn = chance.choice((0.1, 0.2, 0.4, 0.7, 1.0))
        for fleet in sorted(managed):
            named = self._fleet(fleet)
            self._entries.append((named, chance.choice((None, None, None, None, *Mode))))
            for driver in sorted(account.members(fleet)):
                if chance.random() >= churn / 2:
                    self._add_row(named, driver)
            for driver in sorted(account.drivers):
                if driver not in account.members(fleet) and chance.random() < churn / 4:
                    self._add_row(named, driver)
        if self._has_bad_references and chance.random() < 0.3:
            self._entries.append((NO_FLEET, None))
        self._split = chance.random() < 0.3
        self.versions = [(trio.current_time(), self.readings())]

    def fork(self, chance: random.Random) -> "SourceFolder":
        """Return the documents of another host, which differ a little."""
        other = copy.copy(self)
        other._entries, other._rows, other._chance = list(self._entries), list(self._rows), chance
        other.versions = []
        other.edit()
        return other

    def edit(self) -> None:
        """Change something, as an operator would."""
        self._edits += 1
        for _ in range(self._chance.randint(1, 4)):
            kind = self._chance.choice(("add", "add", "drop", "drop", "move", "move", "mode", "manage", "leave"))
            getattr(self, f"_{kind}")()
        self.versions.append((trio.current_time(), self.readings()))

    def repair(self) -> None:
        """Make every source readable again."""
        self.broken = None

    def spoil(self) -> None:
        """Break a source or empty it."""
        self.broken = self._chance.choice(("it is gone", "it is empty"))

    def revision(self) -> str:
        """Return the revision of all documents."""
        return f"{self._edits}"

    def readings_since(self, time: float) -> list[list[SourceReading]]:
        """Return the readings of every version that was valid at some time since then."""
        later = [readings for since, readings in self.versions if since > time]
        earlier = [readings for since, readings in self.versions if since <= time]
        return [*earlier[-1:], *later]

    def readings(self) -> list[SourceReading]:
        """Return the readings of all sources."""
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
            SourceRevision("file", name, f"sha256:{self._edits}", rows=len(chosen)),
            tuple(FleetEntry(fleet, Origin(name, line, 1), mode) for line, (fleet, mode) in enumerate(entries, 1)),
            tuple(
                Row(fleet, driver, Origin(name, 1000 + line, 5), starts, ends)
                for line, (fleet, driver, (starts, ends)) in enumerate(chosen, 1)
            ),
        )

    def _fleet(self, fleet: str) -> FleetRef:
        name = self._account.fleets[fleet].name
        shared = sum(other.name == name for other in self._account.fleets.values()) > 1
        if self._chance.random() < 0.5 or (shared and not self._has_bad_references):
            return FleetById(FleetId(fleet))
        return FleetByName(name)

    def _driver(self, driver: str) -> DriverRef:
        record = self._account.drivers[driver]
        kind = self._chance.choice(("id", "id", "email", "metadata") if self._has_names else ("id",))
        if self._has_bad_references and self._chance.random() < 0.1:
            return self._chance.choice(
                (NO_DRIVER, DriverById(DriverId(f"drv_{'Z' * 32}")), DriverByMetadata("depot", "1"))
            )
        match kind:
            case "email":
                return DriverByEmail(record.email.lower())
            case "metadata":
                return DriverByMetadata("employee_id", record.metadata["employee_id"])
            case _:
                return DriverById(DriverId(driver))

    def _add_row(self, fleet: FleetRef, driver: str) -> None:
        starts = self._chance.choice(self._boundaries) if self._chance.random() < 0.1 else None
        ends = self._chance.choice(self._boundaries) if self._chance.random() < 0.1 else None
        self._rows.append((fleet, self._driver(driver), (starts, ends)))

    def _add(self) -> None:
        if self._account.drivers:
            fleet, _ = self._chance.choice(self._entries)
            self._add_row(fleet, self._chance.choice(sorted(self._account.drivers)))

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
        fleet = self._fleet(self._chance.choice(sorted(self._account.fleets)))
        if fleet not in listed:
            self._entries.append((fleet, None))

    def _leave(self) -> None:
        if len(self._entries) > 1 and self._chance.random() < 0.5:
            fleet, _ = self._entries.pop(self._chance.randrange(len(self._entries)))
            self._rows = [row for row in self._rows if row[0] != fleet]


@dataclasses.dataclass
class Source:
    """Implements ports.Source: one document of the folder, for one run."""

    folder: SourceFolder
    number: int
    points: fault_points.FaultPoints
    run: audit.Run
    poll_seconds: float = 2.0

    async def read(self) -> SourceReading:
        """Return the whole reading, or fail."""
        self.points.point("source")
        readings = self.folder.readings()
        if self.folder.broken or self.number >= len(readings):
            # Once the run has planned, it reads only to notice a change.
            self.run.source_failed |= not self.run.planned
            raise SourceError([Problem(f"source-{self.number}.yaml", self.folder.broken or "it is empty")])
        reading = readings[self.number]
        if not self.run.planned:  # sources that change while they are read are read again: the last reading counts
            others = [each for each in self.run.readings if each.source.name != reading.source.name]
            self.run.readings = sorted([*others, reading], key=lambda each: each.source.name)
        return reading

    async def peek(self) -> str | None:
        """Return the revision, or fail."""
        self.points.point("peek")
        if self.folder.broken:
            raise SourceError([Problem(f"source-{self.number}.yaml", self.folder.broken)])
        return self.folder.revision()
