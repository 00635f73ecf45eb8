"""The rate limit: who may pass now, and how long the others should wait.

Invariant: a request that is turned away uses nothing up.
Neighbours: `app` asks once a request; `behaviour` says which algorithm, how many and how often.
"""

import collections
import dataclasses
import math

from worker.sandbox import quirks


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request passes (`wait` is 0) or how many seconds until one would; and what is left until `reset`."""

    wait: float
    limit: int
    remaining: int
    reset: float


class Limiter:
    """The limit's memory. The behaviour is asked each time, so a limit may change while the sandbox runs."""

    def __init__(self) -> None:
        """Start with nothing used up."""
        self._spent = 0.0
        self._at = 0.0
        self._window = -1
        self._count = 0
        self._passed: collections.deque[float] = collections.deque()

    def admit(self, behaviour: quirks.Quirks, now: float) -> Verdict | None:
        """Judge a request that came at `now`; `None` where there is no limit."""
        if behaviour.rate is None:
            return None
        match behaviour.limit:
            case "bucket":
                return self._bucket(behaviour.rate, behaviour.burst, now)
            case "fixed":
                return self._fixed(behaviour.rate, behaviour.window_seconds, now)
            case "sliding":
                return self._sliding(behaviour.rate, behaviour.window_seconds, now)

    def _bucket(self, rate: float, burst: int | None, now: float) -> Verdict:
        size = max(1, round(rate)) if burst is None else max(1, burst)
        spent = max(0.0, self._spent - (now - self._at) * rate)
        wait = max(0.0, (spent + 1 - size) / rate)
        # Without the tolerance a client that waits exactly as long as it must is turned away by a rounding error.
        if wait < 1e-9:
            spent, wait = spent + 1, 0.0
        self._spent, self._at = spent, now
        return Verdict(wait, size, int(size - spent), spent / rate)

    def _fixed(self, rate: float, length: float, now: float) -> Verdict:
        size = max(1, round(rate * length))
        window = math.floor(now / length)
        if window != self._window:
            self._window, self._count = window, 0
        left = (window + 1) * length - now
        if self._count >= size:
            return Verdict(left, size, 0, left)
        self._count += 1
        return Verdict(0.0, size, size - self._count, left)

    def _sliding(self, rate: float, length: float, now: float) -> Verdict:
        size = max(1, round(rate * length))
        passed = self._passed
        while passed and passed[0] + length <= now:
            passed.popleft()
        if len(passed) >= size:
            # Where the limit was lowered meanwhile, more than the oldest must leave first.
            left = passed[len(passed) - size] + length - now
            return Verdict(left, size, 0, left)
        passed.append(now)
        return Verdict(0.0, size, size - len(passed), passed[0] + length - now)
