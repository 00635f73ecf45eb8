"""Refuses dates whose year cannot be meant: as an `until`, each of them would detach a driver.

Invariant: every date of a row is checked here, whatever its format. Neighbours: `membership_document` and
`row_mapping` parse dates.
"""

from worker.sources import positions

EARLIEST = 1950
"""Earlier dates are typing errors, such as the year 0026, or mean "no date": 0001-01-01 in .NET, 1900-01-01 in SQL."""

_FOUR_DIGITS_FROM = 2000
"""The standard library takes a year of two digits from 69 to 99 for one before this."""


def require_plausible(text: str, year: int) -> None:
    """Check the year that a text was read as. Raises ValueError with a message for the operator."""
    if year < EARLIEST:
        message = f"is before {EARLIEST}: correct the year, or leave the date out if there is none"
        raise ValueError(f"{positions.quote(text)} {message}")
    if year < _FOUR_DIGITS_FROM and str(year) not in text:  # 31.12.99 usually means that there is no end
        raise ValueError(f"{positions.quote(text)} may be in {year} or {year + 100}: write four digits")
