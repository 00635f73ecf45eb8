"""Puts what several sources say together.

Invariant: nothing is dropped but rows that repeat another, notes aside, and those are reported.
Neighbours: `sources` reads, `planner` compares the sum with what Charge holds.
"""

from collections.abc import Iterable, Sequence

from worker.core.model.desired import Desired, FleetEntry, Mode, Row, SourceReading
from worker.core.model.errors import DesiredError
from worker.core.model.problem import Problem


def merge(readings: Sequence[SourceReading]) -> Desired:
    """Add up the readings of all sources: the same fleet and the same row may come from several.

    Raises errors.DesiredError where a fleet is given two different modes.
    """
    rows, notices = _distinct(row for reading in readings for row in reading.rows)
    fleets = tuple(entry for reading in readings for entry in reading.fleets)
    stated_modes((entry, str(entry.fleet)) for entry in fleets)
    return Desired(
        sources=tuple(reading.source for reading in readings), fleets=fleets, rows=tuple(rows), notices=tuple(notices)
    )


def stated_modes(entries: Iterable[tuple[FleetEntry, str]]) -> dict[str, Mode]:
    """Give each fleet, under the name beside its entries, the one mode that was stated for it, if any.

    Raises errors.DesiredError with every fleet that is given two.
    """
    stated: dict[str, FleetEntry] = {}
    problems = []
    for entry, fleet in sorted(entries, key=lambda pair: pair[0].origin):
        if entry.mode is None:
            continue
        first = stated.setdefault(fleet, entry)
        if first.mode != entry.mode:
            problems.append(
                Problem(
                    str(entry.origin),
                    f"fleet {entry.fleet} is given mode {entry.mode} here, but mode {first.mode} at {first.origin}: "
                    "give it one mode",
                )
            )
    if problems:
        raise DesiredError(problems)
    return {fleet: entry.mode for fleet, entry in stated.items() if entry.mode is not None}


def _distinct(rows: Iterable[Row]) -> tuple[list[Row], list[Problem]]:
    """Drop rows that repeat an earlier one (by place), and say so."""
    seen: dict[object, Row] = {}
    notices = []
    for row in sorted(rows, key=lambda row: row.origin):
        first = seen.setdefault((row.fleet, row.driver, row.starts, row.ends), row)
        if first is not row:
            notices.append(
                Problem(
                    str(row.origin),
                    f"{row.driver} in fleet {row.fleet} stands at {first.origin} too; harmless",
                    note=True,
                )
            )
    return list(seen.values()), notices
