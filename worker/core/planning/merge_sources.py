"""Merges what several sources say.

Invariant: only rows that repeat another row (except for its note) are dropped, and each is reported.
Neighbours: `sources` reads, `planner` compares the result with what Charge holds.
"""

from collections.abc import Iterable, Sequence

from worker.core.model.desired import Desired, FleetEntry, FleetRef, Mode, Origin, SourceReading
from worker.core.model.errors import DesiredError
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.rows import Rows


def merge(readings: Sequence[SourceReading]) -> Desired:
    """Merge the readings of all sources; several may contain the same fleet or the same row.

    Raises errors.DesiredError if a fleet has two different modes.
    """
    parts = sorted((Rows.of(reading.rows) for reading in readings if reading.rows), key=lambda part: part[0].origin)
    rows, notices = _distinct(Rows.chained(parts).in_order())
    fleets = tuple(entry for reading in readings for entry in reading.fleets)
    stated_modes((entry, str(entry.fleet)) for entry in fleets)
    return Desired(
        sources=tuple(reading.source for reading in readings),
        fleets=fleets,
        rows=rows,
        notices=(*(notice for reading in readings for notice in reading.notices), *notices),
        named=_named(readings),
    )


def _named(readings: Sequence[SourceReading]) -> dict[str, frozenset[FleetRef]]:
    named = dict[str, frozenset[FleetRef]]()
    for reading in readings:
        fleets = frozenset(entry.fleet for entry in reading.fleets)
        named[reading.source.name] = named.get(reading.source.name, frozenset()) | fleets
    return named


def stated_modes(entries: Iterable[tuple[FleetEntry, str]]) -> dict[str, Mode]:
    """Return the mode of each fleet that has one, by the key paired with its entries.

    Raises errors.DesiredError that lists every fleet with two different modes.
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
                    f"fleet {entry.fleet} has mode {entry.mode} here, but mode {first.mode} at {first.origin}: "
                    "write the same mode",
                )
            )
    if problems:
        raise DesiredError(problems)
    return {fleet: entry.mode for fleet, entry in stated.items() if entry.mode is not None}


def same_rows(one: Desired, other: Desired) -> bool:
    """Return whether two readings of the sources want the same, wherever their rows are."""
    return _content(one) == _content(other)


def _content(desired: Desired) -> tuple[object, ...]:
    fleets = frozenset((entry.fleet, entry.mode) for entry in desired.fleets)
    rows = Rows.of(desired.rows)
    return fleets, rows.undated, frozenset((row.fleet, row.driver, row.starts, row.ends) for row in rows.dated)


def _distinct(rows: Rows) -> tuple[Rows, list[Problem]]:
    """Drop rows that repeat one at an earlier position, with a note for each."""
    if not rows.repeated:
        return rows, []
    dropped = frozenset(rows.repeated)
    firsts: dict[object, Origin] = {}
    notices = []
    for position in rows.referring({rows.keys[each] for each in dropped}):
        row = rows[position]
        first = firsts.setdefault((row.fleet, row.driver, row.starts, row.ends), row.origin)
        if position in dropped:
            message = f"{row.driver} in fleet {row.fleet} is also listed at {first}; harmless"
            notices.append(Problem(str(row.origin), message, note=True, code=ProblemCode.DUPLICATE_ROW))
    return rows.select(each for each in range(len(rows)) if each not in dropped), notices
