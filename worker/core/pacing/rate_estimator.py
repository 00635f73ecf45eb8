"""Estimates an unknown rate limit from the server's replies.

Invariants: the rate never exceeds the ceiling; a 429 never raises it; time is passed in, as seconds on any monotonic
clock. Neighbours: `throttled_period` covers times in which the server refuses, `spurious_429` tells 429s that mean no
limit, `token_bucket` spaces requests by this rate, `engine.rate_limiter` waits; the tests simulate servers.
"""

import math

from worker.core.pacing import spurious_429, throttled_period

# Chosen by simulation (tests/core/test_rate_estimator.py): docs/decisions/rate-limit.md says what each one is for.
_START = 25.0  # requests a second before anything is known
_DOUBLING = math.log(2) / 0.1  # more for each request accepted: the rate doubles every 100 ms until the first 429
_FIRST_CLIMB = 0.4  # the same afterwards, which is the fraction by which the rate rises each second,
_LAST_CLIMB = 0.07  # and in the end
_MARGIN = 0.95  # of the limit, as measured
_AT_ONCE = 0.75  # of the way from the average of a climb to its end, where the server accepts again at once,
_WINDOWED = 0.5  # and where it has ever refused twice in a row
_ENOUGH = 8  # accepted requests needed for a measurement
_UNMEASURED = 0.8  # of the rate, where there were fewer
_LOWEST = 0.5  # requests a second, unless the ceiling is lower: 429s at random would lower the rate forever
_LARGEST_CUT = 0.6  # of the rate, where it was measured for less than a second, or mostly not used
_SAVED = 0.15  # seconds for which a server is taken to have saved up requests during a pause
_HOLD = 1.0  # seconds without raising the rate, at least,
_LONGEST_HOLD = 120.0  # at most,
_PAUSE_WEIGHT = 10.0  # and so many times as long as the pause that the server asked for
_STALE = 2.0  # times the rate at which a measurement began: begin anew
_EPSILON = 1e-9
_IDLE = 0.9  # seconds without any reply that count as idle time, unless the rate itself is lower than that


class RateEstimator:
    """Finds the server's limit from the requests that it accepts and those that it answers with 429.

    The rate doubles every 100 ms until the first 429. After each 429 it becomes slightly lower than the limit, which is
    the accepted requests ÷ the time since the 429 before. Then it is held for as long as that time, so that 429s become
    rarer and rarer, and after that it climbs, more slowly each time. Where the rate was climbing, requests ÷ time is
    the average of the climb, and the limit is between this and the rate at the 429: a server that saves up nothing
    refuses above the limit at once, another one later.

    Idle time and the pauses that a server asks for do not count.
    """

    def __init__(self, *, ceiling: float, adaptive: bool = True) -> None:
        """Start slowly if `adaptive`; else keep the ceiling, and only probe while the server refuses."""
        self._ceiling = ceiling
        self._adaptive = adaptive
        self._rate = min(ceiling, _START) if adaptive else ceiling
        self._climb = _DOUBLING
        self._hold_until = 0.0
        self._filter = spurious_429.Spurious429Filter()
        self._period: throttled_period.ThrottledPeriod | None = None
        self._last_period = 0.0
        self._pause = 0.0
        self._windowed = False
        self._limited = -math.inf
        self._at = -math.inf
        self._busy = 0.0  # seconds without idle time: the clock of all fields but `_at` and `_limited`
        self._begin(0.0)

    @property
    def knows_limit(self) -> bool:
        """Return whether the ceiling is the limit, as far as is known, so that requests may go in bursts."""
        return not self._adaptive or (self._climb == _DOUBLING and self._rate >= self._ceiling)

    def rate(self, now: float) -> float:
        """Return the requests a second that may be sent now."""
        return self._rate if self._period is None else min(self._rate, 1 / self._period.next_probe)

    @property
    def learned(self) -> float | None:
        """Return the rate that was found below a limit, or None if there was none to find."""
        return self._rate if self._adaptive and self._climb != _DOUBLING else None

    def start_at(self, rate: float) -> None:
        """Start at a rate that was learned earlier, as after its first 429, unless there have been replies already."""
        if self._adaptive and self._at == -math.inf:
            self._rate = min(self._ceiling, max(_LOWEST, rate))
            self._climb, self._hold_until = _FIRST_CLIMB, _HOLD
            self._begin(0.0, saved=_SAVED)

    def accepted(self, *, sent: float, now: float, waited: bool = True) -> None:
        """Record a reply other than 429 to a request sent at `sent`; `waited` says that the rate holds up others."""
        self._advance(now)
        self._filter.accepted(self._rate)
        if self._period is not None and sent >= self._limited:
            ended, self._period = self._period, None
            if self._adaptive:
                self._lower(ended)
        self._accepted += 1
        self._unused += not waited
        if self._adaptive and waited and self._period is None and self._busy >= self._hold_until:
            self._rate = min(self._ceiling, self._rate + self._climb)
            if self._climb != _DOUBLING and self._rate > _STALE * self._began_rate:
                self._begin(self._busy)

    def limited(self, *, sent: float, now: float, pause: float = 0.0) -> bool:
        """Record a 429 to a request that was sent at `sent`; return whether it changed the rate.

        `pause` is what the server asked for, in seconds. A request sent before the last cut, or at the same moment,
        says nothing about the rate after it.
        """
        self._advance(now)
        if sent <= self._limited:
            return False
        again = self._period is not None
        self._filter.refused(self._rate, again=again or pause > 0)
        if self._adaptive and not again and self._ignores(pause):
            return False
        self._limited = now
        if self._period is None:
            self._period = throttled_period.ThrottledPeriod(
                now, self._busy, rate=self._rate, pause=pause, last=self._last_period
            )
        else:
            self._period.refused_again(now, self._busy)
        return True

    def _ignores(self, pause: float) -> bool:
        """Return whether a 429 is spurious; where many are, search for a limit from the beginning."""
        if not self._filter.should_ignore(unexpected=self._busy < self._hold_until and not pause):
            return False
        if self._filter.finds_spurious:
            self._search()
        return True

    def _lower(self, ended: throttled_period.ThrottledPeriod) -> None:
        """Set the rate below the limit, as far as it is known, when the server accepts again."""
        first = self._climb == _DOUBLING
        elapsed = ended.end(self._busy) - self._began
        measured = self._accepted >= _ENOUGH
        exact = measured and ended.was_long(self._busy, self._began)
        rough = not (first or exact or ended.pause or ended.began < self._hold_until)
        self._windowed = self._windowed or ended.windowed
        before = self._rate
        doubtful = (exact and not first and elapsed < _HOLD) or self._unused > self._accepted / 2
        if not measured:
            self._rate = _UNMEASURED * before
        else:
            limit = self._accepted / max(_EPSILON, elapsed + (0.0 if first else self._saved))
            lowest = _LARGEST_CUT * before if doubtful else 0.0
            if rough:
                limit += (_WINDOWED if self._windowed else _AT_ONCE) * (before - limit)
            self._rate = min(before, max(lowest, _MARGIN * limit))
        self._rate = max(self._rate, min(before, _LOWEST))
        spurious_at = self._filter.classify(self._rate, first=first)
        if spurious_at is None:
            self._hold(elapsed, first=first, slower=1 if doubtful else 4 if exact else 1 if first else 2)
        else:
            self._rate = max(self._rate, spurious_at)
            self._search()
        self._pause = ended.pause
        self._last_period = ended.length(self._busy)
        if measured or ended.pause:
            self._begin(self._busy if ended.pause else ended.end(self._busy), saved=min(_SAVED, ended.pause))

    def _hold(self, elapsed: float, *, first: bool, slower: int) -> None:
        """Keep the rate for about as long as it took to find it, and raise it more slowly afterwards."""
        self._climb = max(_LAST_CLIMB, (_FIRST_CLIMB if first else self._climb) / slower)
        seconds = (elapsed if first else max(elapsed, _HOLD)) + _PAUSE_WEIGHT * self._pause
        self._hold_until = self._busy + min(_LONGEST_HOLD, seconds)

    def _search(self) -> None:
        """Search for a limit from the beginning."""
        self._climb, self._hold_until = _DOUBLING, 0.0

    def _begin(self, busy: float, *, saved: float = 0.0) -> None:
        """Begin a measurement."""
        self._began, self._began_rate = busy, self._rate
        self._accepted = self._unused = 0
        self._saved = saved

    def _advance(self, now: float) -> None:
        """Advance the clock, but not by idle time, in which a server saves up requests."""
        seconds, self._at = max(0.0, now - self._at), max(now, self._at)
        if seconds <= max(_IDLE, 2 / self.rate(now)):
            self._busy += seconds
        elif self._period is None:
            self._begin(self._busy, saved=_SAVED)
