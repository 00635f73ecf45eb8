"""Spaces requests: at most a burst at once, and no more than the rate in the long run.

Invariant: everything follows from the times passed in (seconds on any steady clock). Neighbours: `rate_estimator` says
what the rate is, `engine.rate_limiter` waits as this says.
"""

_NOTHING = 1e-9


class TokenBucket:
    """A token bucket: at most `burst` requests at once, and in the long run no more than the rate, which may change."""

    def __init__(self, *, burst: int, now: float) -> None:
        """Start with the whole burst available.

        It is a tenth and one less than allowed, so that requests which the network, or a process that is still loading
        modules, delays and bunches keep to the limit where they arrive.
        """
        self._depth = float(max(1, burst - 1 - burst // 10))
        self._tokens = self._depth
        self._at = now

    def wait(self, now: float, rate: float) -> float:
        """Give the seconds until the next request may go; 0 where it may go now."""
        self._refill(now, rate)
        missing = 1 - self._tokens
        return missing / rate if missing > _NOTHING else 0.0

    def take(self) -> None:
        """Note that a request goes now."""
        self._tokens -= 1

    def drain(self) -> None:
        """Give the burst up: the next request goes one interval from now."""
        self._tokens = min(self._tokens, 0.0)

    def _refill(self, now: float, rate: float) -> None:
        self._tokens = min(self._depth, self._tokens + (now - self._at) * rate)
        self._at = now
