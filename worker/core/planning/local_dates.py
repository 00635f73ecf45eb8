"""Turns dates without a time into moments: a date begins at the first moment of that day in its time zone.

Invariant: where clocks are put forward over midnight, the day begins when they are; where they are put back over it,
the day begins the first time. A fleet whose time zone is not known is treated as unresolved, so nothing is decided by
a guess. Neighbours: `sources` reads dates, `planner` gets moments only.
"""

import dataclasses
import datetime
from collections.abc import Callable, Mapping

from worker.core.model.actual import Fleet
from worker.core.model.desired import Desired, FleetRef, Row
from worker.core.model.identifiers import FleetId
from worker.core.model.rows import Rows
from worker.core.planning import resolver

FindZone = Callable[[str], datetime.tzinfo | None]
"""Returns the time zone of an IANA name, or None if there is none of that name."""

_EARLIEST = datetime.timezone(datetime.timedelta(hours=14))
_LATEST = datetime.timezone(datetime.timedelta(hours=-12))
"""The time zones in which a day begins first and last."""

_SECOND = datetime.timedelta(seconds=1)
_CALENDAR_BEGINS = datetime.datetime.min.replace(tzinfo=datetime.UTC)


def start_of_day(day: datetime.datetime, zone: datetime.tzinfo) -> datetime.datetime:
    """Return the first moment, in UTC, of the day that the naive `day` is the midnight of."""
    if zone is datetime.UTC:  # the usual one, where each midnight exists once
        return day.replace(tzinfo=zone)
    try:
        before = day.replace(tzinfo=zone, fold=1).astimezone(datetime.UTC)
        start = day.replace(tzinfo=zone, fold=0).astimezone(datetime.UTC)
    except OverflowError:  # the first day of the calendar, east of Greenwich
        return _CALENDAR_BEGINS
    if before >= start:  # midnight exists, once or twice: the first time counts
        return start
    while start - before > _SECOND:  # midnight is skipped: find the moment when the clocks are put forward
        middle = before + (start - before) / 2
        if middle.astimezone(zone).replace(tzinfo=None) >= day:
            start = middle
        else:
            before = middle
    return start.replace(microsecond=0)


def localize(desired: Desired, fleets: Mapping[FleetId, Fleet], find_zone: FindZone) -> Desired:
    """Return the desired state with every naive start and end as the moment when that day begins in its fleet's zone.

    `unzoned` of the result has the fleets whose zone is needed and not known, with the reason: their dates begin as
    early and end as late as they may anywhere.
    """
    dated = {row.fleet for row in Rows.of(desired.rows).dated if _is_local(row)}
    if not dated:
        return desired
    answers = resolver.resolve_fleets(dated, fleets)
    zones, unzoned = dict[FleetRef, datetime.tzinfo](), dict[FleetRef, str]()
    for reference, answer in answers.items():
        if isinstance(answer, resolver.Unresolved):
            continue
        name = fleets[answer].timezone
        if zone := find_zone(name):
            zones[reference] = zone
        else:
            unzoned[reference] = _unknown(answer, name)
    rows = Rows(_localized(row, zones.get(row.fleet)) if _is_local(row) else row for row in desired.rows)
    return dataclasses.replace(desired, rows=rows, unzoned=unzoned)


def _unknown(fleet: FleetId, name: str) -> str:
    known = f'its time zone "{name}" is not known' if name else "Charge does not say its time zone"
    return f'fleet {fleet} has dates without a time, and {known} (sync.timezone = "fleet")'


def _is_local(row: Row) -> bool:
    return any(each is not None and each.tzinfo is None for each in (row.starts, row.ends))


def _localized(row: Row, zone: datetime.tzinfo | None) -> Row:
    return dataclasses.replace(
        row, starts=_moment(row.starts, zone or _EARLIEST), ends=_moment(row.ends, zone or _LATEST)
    )


def _moment(each: datetime.datetime | None, zone: datetime.tzinfo) -> datetime.datetime | None:
    return each if each is None or each.tzinfo is not None else start_of_day(each, zone)
