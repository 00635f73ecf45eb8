"""Finds time zones by their IANA names, in the system's database or else in the package `tzdata`.

Invariant: a name that is not a zone is None, whatever else it may be on this machine. Neighbours: `model` has the
setting, `core.planning.local_dates` uses the zones of fleets.
"""

import datetime
import functools
import zoneinfo

FLEET = "fleet"
"""Stands for the time zone of each fleet in Charge."""


@functools.lru_cache(maxsize=1024)
def find(name: str) -> datetime.tzinfo | None:
    """Return the time zone, or None if there is none of that name."""
    if name == "UTC":
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(name) if name in _names() else None
    except (OSError, ValueError):  # the database was removed meanwhile, or is damaged
        return None


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def check(name: str) -> str:
    """Return the name of a time zone, or "fleet", unchanged. Raises ValueError with a message for the operator."""
    if name != FLEET and find(name) is None:
        raise ValueError('write the name of a time zone, such as "Europe/Paris", or "fleet"')
    return name
