"""Decides whether a failed request is worth another attempt, and how long to wait before it.

Invariant: pure; the same error, attempt and jitter give the same answer. Neighbours: `engine.sending` obeys.
"""

import dataclasses

from worker.core.model.errors import RateLimited, Unreachable

LONGEST_WAIT = 300.0
"""Seconds. A server that asks for a longer pause is left alone for this run."""

_RESERVE = 100.0
_EARNED_BY_SUCCESS = 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is attempted in all, and the backoff's first and longest step in seconds."""

    max_attempts: int = 6
    base_seconds: float = 0.5
    max_seconds: float = 30.0


_FIRST_PAUSE = 10.0
_LONGEST_PAUSE = 300.0


def delay(error: Exception, *, attempt: int, jitter: float, policy: RetryPolicy) -> float | None:
    """Give the seconds to wait after the failed `attempt` (from 1), or None where it is to be the last.

    Connection errors, time-outs, 5xx and answers that make no sense back off exponentially, with `jitter` (0 to 1)
    spreading each step over its upper half. A 429 with `Retry-After` waits no longer than everybody does: the pace
    keeps that pause.
    """
    if attempt >= policy.max_attempts:
        return None
    if isinstance(error, RateLimited) and error.retry_after is not None:
        return None if error.retry_after > LONGEST_WAIT else 0.0
    if isinstance(error, RateLimited | Unreachable):
        step = min(policy.max_seconds, policy.base_seconds * 2.0 ** min(attempt - 1, 32))
        return step * (0.5 + 0.5 * jitter)
    return None


def delay_after_failed_run(failures: int, *, interval: float) -> float:
    """Give the seconds between a run that failed as a whole, the so-manieth in a row, and the next one.

    It begins soon, as most failures pass, doubles, and never gets longer than the interval, or five minutes.
    """
    soon, longest = min(interval, _FIRST_PAUSE), max(interval, _LONGEST_PAUSE)
    return float(min(longest, soon * 2.0 ** min(failures - 1, 32)))


class RetryBudget:
    """Keeps retries from becoming the load: every retry costs 1, every success earns 3, up to a reserve of 100.

    So while at least a quarter of the attempts succeed retries never stop; when nothing does, they end after 100.
    """

    def __init__(self) -> None:
        """Start with a full reserve."""
        self._left = _RESERVE

    def succeeded(self) -> None:
        """Earn for a success."""
        self._left = min(_RESERVE, self._left + _EARNED_BY_SUCCESS)

    def retry(self) -> bool:
        """Pay for a retry, and tell whether there was enough left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
