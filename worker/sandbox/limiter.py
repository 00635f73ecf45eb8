"""The rate limit of the sandbox: admits a request or says how long to wait.

Invariant: a rejected request does not count against the limit.
Neighbours: `app` asks once per request; `quirks` sets the algorithm, the rate and the window.
"""

import collections
import dataclasses
import math

from worker.sandbox import quirks


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """The seconds to wait, 0 if the request is admitted, and how many of `limit` requests remain.

    `reset` is in seconds from now.
    """

    wait: float
    limit: int
    remaining: int
    reset: float


class Limiter:
    """The state of the limit. Quirks are passed with each request, so the limit can change while the sandbox runs."""

    def __init__(self) -> None:
        """Start with the full limit available."""
        self._spent = 0.0
        self._at = 0.0
        self._window = -1
        self._count = 0
        self._passed: collections.deque[float] = collections.deque()

    def admit(self, quirks: quirks.Quirks, now: float) -> Admission | None:
        """Return whether a request at `now` is admitted, or None without a limit."""
        if quirks.rate is None:
            return None
        match quirks.limit:
            case "bucket":
                return self._bucket(quirks.rate, quirks.burst, now)
            case "fixed":
                return self._fixed(quirks.rate, quirks.window_seconds, now)
            case "sliding":
                return self._sliding(quirks.rate, quirks.window_seconds, now)

    def _bucket(self, rate: float, burst: int | None, now: float) -> Admission:
        size = max(1, round(rate)) if burst is None else max(1, burst)
        spent = max(0.0, self._spent - (now - self._at) * rate)
        wait = max(0.0, (spent + 1 - size) / rate)
        # Without the tolerance, rounding would reject a client that waited exactly as long as required.
        if wait < 1e-9:
            spent, wait = spent + 1, 0.0
        self._spent, self._at = spent, now
        return Admission(wait, size, int(size - spent), spent / rate)

    def _fixed(self, rate: float, length: float, now: float) -> Admission:
        size = max(1, round(rate * length))
        window = math.floor(now / length)
        if window != self._window:
            self._window, self._count = window, 0
        left = (window + 1) * length - now
        if self._count >= size:
            return Admission(left, size, 0, left)
        self._count += 1
        return Admission(0.0, size, size - self._count, left)

    def _sliding(self, rate: float, length: float, now: float) -> Admission:
        size = max(1, round(rate * length))
        passed = self._passed
        while passed and passed[0] + length <= now:
            passed.popleft()
        if len(passed) >= size:
            # After the limit was lowered, more than the oldest request must leave the window first.
            left = passed[len(passed) - size] + length - now
            return Admission(left, size, 0, left)
        passed.append(now)
        return Admission(0.0, size, size - len(passed), passed[0] + length - now)
