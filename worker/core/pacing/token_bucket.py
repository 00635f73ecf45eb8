"""A token bucket: how long the next request must wait.

Invariant: pure; time is passed in, as seconds on any monotonic clock. Neighbours: `rate_estimator` decides the rate,
`engine.rate_limiter` waits.
"""

_EPSILON = 1e-9
_LATE = 0.004  # seconds by which a timer may be late: the request after it follows sooner, so that none is lost


class TokenBucket:
    """Allows about `burst` requests at once, and in the long run no more than the rate, which may change."""

    def __init__(self, *, burst: int, now: float) -> None:
        """Start with a full bucket.

        Its depth is one request and a tenth below `burst`: the network, or a process that is still loading modules, may
        delay requests so that they arrive closer together than they were sent.
        """
        self._depth = float(max(1, burst - 1 - burst // 10))
        self._tokens = self._depth
        self._at = now
        self.even = False
        """Space requests evenly instead of saving up for a burst: a server may refuse any two that come close."""

    def wait(self, now: float, rate: float) -> float:
        """Return the seconds until the next request may be sent; 0 if it may be sent now."""
        self._refill(now, rate)
        missing = 1 - self._tokens
        return missing / rate if missing > _EPSILON else 0.0

    def take(self) -> None:
        """Use a token for a request that is sent now. The count may become negative."""
        self._tokens -= 1

    def give_back(self) -> None:
        """Return a token that was taken and not used."""
        self._tokens += 1

    def drain(self) -> None:
        """Empty the bucket: the next request waits for one interval. A debt stays."""
        self._tokens = min(self._tokens, 0.0)

    def _refill(self, now: float, rate: float) -> None:
        depth = min(self._depth, 1 + rate * _LATE) if self.even else self._depth
        self._tokens = min(depth, self._tokens + (now - self._at) * rate)
        self._at = now
