"""Decides whether a failed request or run is tried again, and after how long.

Invariant: pure; the same error, attempt and jitter give the same result. Neighbours: `engine.request_executor` retries
requests, `service.scheduler` repeats runs.
"""

import dataclasses

from worker.core.model.errors import KeyChanged, OtherVersion, RateLimited, Unreachable

LONGEST_WAIT = 300.0
"""Seconds. A request is not retried in this run if the server asks for a longer wait."""

_RESERVE = 100.0
_EARNED_BY_SUCCESS = 3.0

_FIRST_DELAY_AFTER_RUN = 10.0
_LONGEST_DELAY_AFTER_RUN = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The number of attempts of a request, and the first and longest step of the backoff in seconds."""

    max_attempts: int = 6
    base_seconds: float = 0.5
    max_seconds: float = 30.0


def delay(error: Exception, *, attempt: int, jitter: float, policy: RetryPolicy) -> float | None:
    """Return the seconds to wait after the failed `attempt` (counted from 1), or None if it must not be repeated.

    Connection errors, timeouts, 5xx and malformed replies back off exponentially; `jitter` (0 to 1) spreads each step
    over its upper half. A 429 with `Retry-After` returns 0, because the rate limiter makes all requests wait that long.
    """
    if isinstance(error, KeyChanged):
        return 0.0
    if attempt >= policy.max_attempts or isinstance(error, OtherVersion):
        return None
    if isinstance(error, RateLimited) and error.retry_after is not None:
        return None if error.retry_after > LONGEST_WAIT else 0.0
    if isinstance(error, RateLimited | Unreachable):
        step = min(policy.max_seconds, policy.base_seconds * 2.0 ** min(attempt - 1, 32))
        return step * (0.5 + 0.5 * jitter)
    return None


def delay_after_failed_run(failures: int, *, interval: float) -> float:
    """Return the seconds to wait after a failed run, before the next one; `failures` counts failed runs in a row.

    Starts at 10 s (or the interval, if shorter), because most failures are brief, and doubles up to the interval or
    five minutes, whichever is longer.
    """
    first, longest = min(interval, _FIRST_DELAY_AFTER_RUN), max(interval, _LONGEST_DELAY_AFTER_RUN)
    return float(min(longest, first * 2.0 ** min(failures - 1, 32)))


class RetryBudget:
    """Limits retries: each retry costs 1 and each success earns 3, up to a reserve of 100.

    While at least a quarter of the attempts succeed, retries never stop. If none succeeds, they stop after 100.
    """

    def __init__(self) -> None:
        """Start with a full reserve."""
        self._left = _RESERVE

    def succeeded(self) -> None:
        """Earn for a success."""
        self._left = min(_RESERVE, self._left + _EARNED_BY_SUCCESS)

    def retry(self) -> bool:
        """Pay for a retry; return False if the budget is used up."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
