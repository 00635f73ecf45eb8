"""Says when a day begins in a time zone: a date without a time means the first moment of that day.

Invariant: where clocks skip midnight, the day begins when they do; where midnight comes twice, the day begins with the
first one. Neighbours: `sources` calls this for the time zone of the settings, `local_dates` for those of fleets.
"""

import datetime

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
