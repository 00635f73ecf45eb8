"""Says which drivers the desired state refers to, and which of them it wants exactly where they are.

Invariant: "in sync" is only said of a driver whom undated rows by id want in exactly the managed fleets that it is in,
and whom no other row can mean. Neighbours: `inventory` collects the drivers of a reading by this; `resolved_rows`
resolves the rows once everything is read.
"""

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from worker.core.model.actual import Fleet
from worker.core.model.desired import Desired, DriverRef
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.people import mentioned
from worker.core.model.rows import Rows, key_of
from worker.core.planning import resolver

InSync = Callable[[DriverId, frozenset[FleetId]], bool]
"""Returns whether a driver who is in these fleets is where the sources want it."""


def never(driver: DriverId, fleets: frozenset[FleetId]) -> bool:
    """Return False: it is not known what the sources want."""
    return False


@dataclasses.dataclass(frozen=True, slots=True)
class ExpectedDrivers:
    """The drivers that a reading must show: `references` are those that are not by id."""

    by_id: tuple[Iterable[object], ...] = ()
    references: Collection[DriverRef] = ()
    is_in_sync: InSync = never

    @classmethod
    def of(cls, desired: Desired) -> "ExpectedDrivers":
        """Return the drivers whom the rows refer to, and those whom no change may concern."""
        rows = Rows.of(desired.rows)
        further = [key_of(row.driver) for row in rows.dated] + [key_of(each) for each in desired.ignored]
        keys = (rows.undated, further)
        return cls(keys, frozenset(key for key in itertools.chain(*keys) if not isinstance(key, str)))

    def named(self) -> Iterator[DriverId]:
        """Return the ids; some appear twice."""
        return (DriverId(key) for key in itertools.chain(*self.by_id) if isinstance(key, str))

    def knowing(self, desired: Desired, fleets: Mapping[FleetId, Fleet]) -> "ExpectedDrivers":
        """Return the same, with what the rows want in these fleets."""
        if self.references:
            return self  # which may mean anyone
        rows = Rows.of(desired.rows)
        answers = resolver.resolve_fleets({entry.fleet for entry in desired.fleets}, fleets)
        managed = resolver.resolved_ids(answers.values())
        undated = rows.undated
        wanted = {each: resolver.resolved_ids(map(answers.__getitem__, each)) for each in set(undated.values())}
        others = {key_of(row.driver) for row in rows.dated}
        others |= {DriverId(each) for each in mentioned([notice.message for notice in desired.notices])}

        def is_in_sync(driver: DriverId, shown: frozenset[FleetId]) -> bool:
            references = undated.get(driver)
            return references is not None and wanted[references] == shown & managed and driver not in others

        return dataclasses.replace(self, is_in_sync=is_in_sync)
