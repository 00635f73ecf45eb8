"""Estimates an unknown rate limit from the server's replies.

Invariants: the rate never exceeds the ceiling; a 429 never raises it; time is passed in, as seconds on any monotonic
clock. Neighbours: `token_bucket` spaces requests by this rate, `engine.rate_limiter` waits; the tests simulate servers.
"""

import collections
import math

from worker.core.pacing import spurious_429

# Chosen by simulation (tests/core/test_rate_estimator.py) against servers with token buckets and with fixed and sliding
# windows of one second.
_START = 50.0  # requests a second before anything is known
_GROWTH = 1.5  # requests a second more for each one accepted, until the first 429
_FIRST_CLIMB = 0.4  # fraction by which the rate rises each second after a hold, at first,
_LAST_CLIMB = 0.05  # and in the end
_FIRST_CUT = 0.8  # of the rate in use, while the limit cannot be measured
_LARGEST_CUT = 0.6  # of the rate, on a measurement of less than a second
_MARGIN = 0.95  # of the limit, as measured
_ENOUGH = 10  # accepted requests needed for a measurement
_TRICKLE = 20.0  # requests a second at most while the server refuses everything
_SLOWEST_TRICKLE = 0.05  # and at least, however long it refuses
_HOLD_SECONDS = 1.1  # without raising the rate, so that a window of one second shows its limit,
_LONGEST_HOLD = 120.0  # and at most
_RECENT_SECONDS = 0.4  # over which the rate in use is counted,
_FEWEST_SECONDS = 0.1  # or, at the very beginning, at least so many
_PROBE = 0.65  # of the rate in use, to check whether 429s become rarer there
_IDLE_SECONDS = 0.9  # without any reply that count as idle time, unless the rate itself is lower than that
_EPSILON = 1e-9


class RateEstimator:
    """Finds the server's limit from the requests that it accepts and those that it answers with 429.

    The rate doubles about twice a second until the first 429. A 429 starts an episode: requests only trickle until one
    is accepted, because a window may have to end. Then the rate is held, and after that it climbs slowly. A 429 during
    the hold means that the server was at its limit all the time, so the limit is accepted ÷ elapsed; a 429 during the
    climb means that the rate was slightly too high at that moment. In both cases the rate becomes slightly lower than
    the limit. Each hold lasts as long as the time since the last 429, so that 429s become rarer and rarer.

    429s that are as frequent at a much lower rate are spurious: the cut is undone and they are ignored. Idle time does
    not count.
    """

    def __init__(self, *, ceiling: float, adaptive: bool = True) -> None:
        """Start slowly if `adaptive`; else keep the ceiling, and only trickle while the server refuses."""
        self._ceiling = ceiling
        self._adaptive = adaptive
        self._rate = min(ceiling, _START) if adaptive else ceiling
        self._filter = spurious_429.Spurious429Filter()
        self._trickle: float | None = None
        self._limited = -math.inf
        self._refused_since = 0.0
        self._at = -math.inf
        self._busy = 0.0  # seconds without idle time: the clock of the fields below
        self._hold_until: float | None = None
        self._climb = _FIRST_CLIMB
        self._accepted = 0
        self._steady = (0.0, 0.0)
        self._episode = 0.0
        self._recent: collections.deque[float] = collections.deque()

    def rate(self, now: float) -> float:
        """Return the requests a second that may be sent now."""
        return self._rate if self._trickle is None else min(self._rate, self._trickle)

    def accepted(self, *, sent: float, now: float) -> None:
        """Record a reply other than 429 to a request that was sent at `sent`."""
        seconds = self._advance(now)
        self._accepted += 1
        self._recent.append(self._busy)
        recently = self._accepted_recently()
        self._filter.accepted(self._rate)
        if sent >= self._limited:
            self._trickle = None
        if not self._adaptive or self._trickle is not None:
            return
        self._classify()
        if self._filter.probing:
            return
        if self._hold_until is None:
            useful = max(_START, 2 * recently / _RECENT_SECONDS)
            self._rate = min(self._ceiling, max(self._rate, min(self._rate + _GROWTH, useful)))
        elif self._busy > self._hold_until:
            seconds = min(seconds, self._busy - self._hold_until)
            self._rate = min(self._ceiling, self._rate * (1 + self._climb * seconds))

    def limited(self, *, sent: float, now: float) -> bool:
        """Record a 429 to a request that was sent at `sent`; return whether it changed the rate.

        A request sent before the last cut, or at the same moment, says nothing about the rate after it.
        """
        self._advance(now)
        self._filter.refused(self._rate, used=self._used(), again=self._trickle is not None and sent > self._limited)
        if sent <= self._limited:
            return False
        if self._trickle is not None:
            self._trickle = min(_TRICKLE, max(_SLOWEST_TRICKLE, 3 / (now - self._refused_since)))
        elif self._adaptive and self._filter.should_ignore():
            return False
        elif self._filter.start_probe(self._rate):
            self._rate = _PROBE * min(self._rate, max(1.0, self._accepted_recently() / _RECENT_SECONDS))
            self._episode, self._accepted = self._busy, 0
        else:
            self._trickle = _TRICKLE
            self._refused_since = now
            if self._adaptive:
                self._cut()
        self._limited = now
        return True

    def _classify(self) -> None:
        """Undo the cut if the 429s turn out to be spurious."""
        top, probing = self._filter.top, self._filter.probing
        spurious = self._filter.classify()
        if spurious:
            self._rate = max(self._rate, top)
            self._climb = _FIRST_CLIMB
            if not probing:
                self._hold_until = None
        elif spurious is False and probing:
            self._hold_until = self._busy + _HOLD_SECONDS
            self._climb = max(_LAST_CLIMB, self._climb / 2)

    def _advance(self, now: float) -> float:
        """Advance the clock; return the seconds since the last reply, or 0 if that was idle time."""
        seconds, self._at = max(0.0, now - self._at), max(now, self._at)
        if seconds > max(_IDLE_SECONDS, 2 / self.rate(now)):
            self._filter.forget_counts()
            return 0.0
        self._busy += seconds
        return seconds

    def _cut(self) -> None:
        """Set the rate below the limit, as far as it is known."""
        elapsed = 0.0 if self._hold_until is None else self._busy - self._episode  # the first 429 has none before it
        self._lower(elapsed)
        self._hold_until = self._busy + max(_HOLD_SECONDS, min(_LONGEST_HOLD, elapsed))
        self._episode = self._busy
        self._accepted = 0

    def _lower(self, elapsed: float) -> None:
        if self._hold_until is None:
            self._rate = self._used() * _FIRST_CUT
        elif self._busy <= self._hold_until:
            self._rate = _MARGIN * max(self._measured(elapsed), _LARGEST_CUT * self._rate if elapsed < 1 else 0.0)
            if self._filter.needs_lower_rate:
                self._rate = min(self._rate, _PROBE * self._filter.top)
        else:
            self._steady = (0.0, 0.0)
            self._rate = self._used() * _MARGIN
            self._climb = max(_LAST_CLIMB, self._climb / 2)

    def _measured(self, elapsed: float) -> float:
        """Return accepted ÷ elapsed between two 429s at a steady rate, smoothed over successive episodes."""
        if self._accepted < _ENOUGH:
            return self._rate * _FIRST_CUT
        accepted, seconds = self._accepted + self._steady[0] / 2, elapsed + self._steady[1] / 2
        self._steady = (accepted, seconds)
        return min(self._rate, accepted / max(seconds, _EPSILON))

    def _used(self) -> float:
        """Return the rate that was really used, which is lower if there was not enough to send."""
        seconds = min(_RECENT_SECONDS, max(_FEWEST_SECONDS, self._busy))
        return min(self._rate, max(1.0, 1.5 * self._accepted_recently() / seconds))

    def _accepted_recently(self) -> int:
        while self._recent and self._recent[0] < self._busy - _RECENT_SECONDS:
            self._recent.popleft()
        return len(self._recent)
