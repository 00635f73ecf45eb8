"""Spreads what many accounts would do at once: starting, reloading, and catching up after an outage.

Invariant: a spread is never longer than its limit, so that no account waits longer than it may. Neighbours:
`service.account_supervisor` starts accounts, `service.scheduler` repeats failed runs.
"""

SECONDS_PER_ACCOUNT = 0.1
"""Time that each of several accounts is given, on average, before the next one begins."""


def delay(chance: float, *, accounts: int, longest: float) -> float:
    """Return the seconds that one of `accounts` waits before it begins; `chance` is a random number from 0 to 1.

    A single account begins at once.
    """
    return chance * min(longest, (accounts - 1) * SECONDS_PER_ACCOUNT)


def shortened(seconds: float, chance: float, *, fraction: float) -> float:
    """Return a pause, shortened by a random part of up to `fraction`; `chance` is a random number from 0 to 1."""
    return seconds * (1 - fraction * chance)
