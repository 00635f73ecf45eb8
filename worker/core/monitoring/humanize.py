"""Formats counts and times for people: `3 fleets`, `40 s ago`, `in 4 min`.

Invariant: one unit, rounded down; times of day are UTC. Neighbours: `summary` and `alerts` build sentences from these.
"""

import datetime


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun, as in `1 fleet` or `3 fleets`; `many` is the plural if it is not regular."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def duration(length: datetime.timedelta) -> str:
    """Return a length of time in one unit: `40 s`, `4 min`, `3 h`, `2 days`."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 48 * 3600 else f"{seconds // 86400} days"


def ago(then: datetime.datetime, now: datetime.datetime) -> str:
    """Return how long ago `then` was, or when it will be: a wrong clock can put a past event into the future."""
    if abs(now - then) < datetime.timedelta(seconds=5):
        return "just now"
    return f"{duration(now - then)} ago" if then < now else time_until(then, now)


def time_until(then: datetime.datetime, now: datetime.datetime) -> str:
    """Return how long it is until `then`."""
    return f"in {duration(then - now)}" if then > now else "any moment"


def time_of_day(then: datetime.datetime, now: datetime.datetime) -> str:
    """Return the time of day in UTC, with the date if it is not today."""
    then = then.astimezone(datetime.UTC)
    today = then.date() == now.astimezone(datetime.UTC).date()
    return f"{then:%H:%M}" if today else f"{then:%Y-%m-%d %H:%M}"
