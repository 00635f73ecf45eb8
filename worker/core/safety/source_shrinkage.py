"""Finds sources that lost too many rows since earlier runs: perhaps their end is missing.

Invariants: neither a run in which a source had shrunk too much nor the time since the last run in which it had not
lowers the baseline; only an approval does. Neighbours: `guard` holds the detaches from the fleets of these sources,
`core.model.source_history` has the values.
"""

import datetime
from collections.abc import Collection, Mapping

from worker.core.model.source_history import RowCount, ShrunkSource, SourceRecord, SourceSize

DEFAULT_FRACTION = 0.10

_NEVER_TRIPS = 2
"""A loss of this many rows is never too much."""


def baselines(records: Mapping[str, SourceRecord], *, since: datetime.datetime) -> dict[str, SourceSize]:
    """Return what each source is compared with: its largest count since then, or else its last one, however old."""
    return {name: _baseline(record, since) for name, record in records.items() if record.counts}


def _baseline(record: SourceRecord, since: datetime.datetime) -> SourceSize:
    recent = [count.rows for count in record.counts if count.seen >= since]
    return SourceSize(max(recent, default=record.counts[-1].rows), record.fleets)


def find_shrunk(
    sizes: Mapping[str, SourceSize], baseline: Mapping[str, SourceSize], fractions: Mapping[str, float]
) -> tuple[ShrunkSource, ...]:
    """Return the sources that lost a larger fraction of their rows than they may, by name.

    The fleets are also those that a source named before: the rows of such a fleet may be among the missing ones.
    """
    shrunk = []
    for name, size in sorted(sizes.items()):
        before = baseline.get(name, size)
        lost, fraction = before.rows - size.rows, fractions.get(name, DEFAULT_FRACTION)
        if lost > _NEVER_TRIPS and lost / before.rows > fraction:
            message = (
                f"source {name} has {size.rows} rows instead of {before.rows}: it lost {lost / before.rows:.1%},"
                f" more than max_shrink_fraction = {fraction:g}"
            )
            shrunk.append(ShrunkSource(name, size.rows, before.rows, message, size.fleets | before.fleets))
    return tuple(shrunk)


def updated_records(
    sizes: Mapping[str, SourceSize],
    records: Mapping[str, SourceRecord],
    *,
    held: Collection[ShrunkSource],
    approved: Collection[ShrunkSource],
    now: datetime.datetime,
    unsettled: Collection[str] = (),
) -> dict[str, SourceRecord]:
    """Return the new records of the sources that were read at `now`.

    The records of `held` sources stay as they are; those of `approved` ones begin anew. The version of `unsettled`
    ones stays.
    """
    unchanged, lowered = {each.name for each in held}, {each.name for each in approved}
    return {
        name: SourceRecord(
            (*(() if name in lowered else _still_relevant(records.get(name), size)), RowCount(size.rows, now)),
            size.fleets | (records[name].fleets if name in unsettled else frozenset()),
            records[name].version if name in unsettled else size.version,
        )
        for name, size in sizes.items()
        if name not in unchanged
    }


def _still_relevant(record: SourceRecord | None, size: SourceSize) -> tuple[RowCount, ...]:
    return tuple(count for count in record.counts if count.rows > size.rows) if record else ()
