"""How long a 429 asks everyone to wait, in any of the headers that say so.

Invariant: what cannot be read asks for nothing. Neighbours: `codec.failure` puts the pause into its error,
`engine.rate_limiter` closes the gate for as long.
"""

import datetime
import email.utils
import functools
import re
from collections.abc import Mapping

_RESETS = (
    "ratelimit-reset",
    "x-ratelimit-reset-after",
    "x-ratelimit-reset",
    "x-rate-limit-reset",
)
"""When the limit is as good as new; the first of these that is sent counts."""

_NUMBER = re.compile(r"\d{1,13}(\.\d+)?")
_IN_ONE_HEADER = re.compile(r"(?:^|[;,\s])(?:t|reset)\s*=\s*(\d{1,13})")
"""In `RateLimit`: `"default";r=0;t=5`, or `limit=100, remaining=0, reset=5` in earlier drafts of that header."""

_EPOCH = 1e9  # seconds; a larger number is a time since 1970,
_MILLISECONDS = 1e12  # and one larger than this a time in milliseconds


def requested_pause(headers: Mapping[str, str], *, now: datetime.datetime) -> float | None:
    """Return the seconds that a 429 asks to wait, or None.

    `Retry-After` decides. Without it a `RateLimit-Reset`, or one of its kin, does: as seconds, as a time since 1970 or
    as a date. A time is compared with the reply's own `Date`, or with `now`.
    """
    stated = http_date(headers.get("date", "")) or now
    asked = _seconds(headers.get("retry-after", ""), stated)
    return _until_reset(headers, stated) if asked is None else asked


def _until_reset(headers: Mapping[str, str], stated: datetime.datetime) -> float | None:
    """Return the time until the limit is as good as new; one that is over asks for nothing."""
    texts = [headers[name] for name in _RESETS if name in headers]
    texts += _IN_ONE_HEADER.findall(headers.get("ratelimit", ""))
    seconds = [_seconds(text, stated) for text in texts]
    return next((each for each in seconds if each), None)


def _seconds(text: str, stated: datetime.datetime) -> float | None:
    """Return a number of seconds, or those until a time, as seconds from `stated` on."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number < _EPOCH:
            return number
        moment = number / 1000 if number >= _MILLISECONDS else number
        return max(0.0, moment - stated.timestamp())
    if (until := http_date(text)) is None:
        return None
    return max(0.0, (until - stated).total_seconds())


@functools.lru_cache(maxsize=16)  # replies within a second state the same
def http_date(text: str) -> datetime.datetime | None:
    """Return the moment that a header such as `Date` names, or None if it is no date."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
