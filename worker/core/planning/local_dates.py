"""Turns the dates of rows into moments where they begin in the time zone of the fleet.

Invariant: a fleet whose time zone is not known is treated as unresolved, so nothing is decided by a guess.
Neighbours: `days` says when a day begins, `sources` reads dates, `planner` gets moments only.
"""

import dataclasses
import datetime
from collections.abc import Callable, Mapping

from worker.core.model.actual import Fleet
from worker.core.model.desired import Desired, FleetRef, Row
from worker.core.model.identifiers import FleetId
from worker.core.model.rows import Rows
from worker.core.planning import days, resolver

FindZone = Callable[[str], datetime.tzinfo | None]
"""Returns the time zone of an IANA name, or None if there is none of that name."""

_EARLIEST = datetime.timezone(datetime.timedelta(hours=14))
_LATEST = datetime.timezone(datetime.timedelta(hours=-12))
"""The time zones in which a day begins first and last."""


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
    return each if each is None or each.tzinfo is not None else days.start_of_day(each, zone)
