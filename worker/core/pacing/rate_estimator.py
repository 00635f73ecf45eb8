"""How fast to send: a spacing of requests, and an estimate of a limit that nobody tells.

Invariants: never faster than the ceiling; a 429 never raises the rate; everything follows from the times passed in
(seconds on any steady clock). Neighbours: `engine.pacing` waits as told here; the tests simulate servers against this.
"""

import collections
import math

from worker.core.pacing import spurious_429

# Chosen by simulation (tests/core/test_rate_estimator.py) against servers with token buckets and with fixed and sliding
# windows of one second.
_START = 50.0  # requests a second before anything is known
_GROWTH = 1.5  # requests a second more for each one accepted, until the first 429
_FIRST_CLIMB = 0.4  # of the rate, a second: how fast it is raised after a hold at first,
_LAST_CLIMB = 0.05  # and in the end
_FIRST_CUT = 0.8  # of the rate in use, while the limit cannot be told
_LARGEST_CUT = 0.6  # of the rate, on a measurement of less than a second
_MARGIN = 0.95  # of the limit, as measured
_ENOUGH = 10  # requests that make a measurement
_TRICKLE = 20.0  # requests a second at most while the server refuses
_SLOWEST_TRICKLE = 0.05  # and at least, however long it does
_HOLD_SECONDS = 1.1  # no climb for so long, so that a window of a second has shown itself,
_LONGEST_HOLD = 120.0  # and at the longest
_RECENT_SECONDS = 0.4  # in which the rate in use is counted,
_FEWEST_SECONDS = 0.1  # or, at the very beginning, at least so many
_PROBE = 0.65  # of the rate in use, to see whether 429s become rarer there
_IDLE_SECONDS = 0.9  # without any answer that are no work, unless the rate itself is so slow
_NOTHING = 1e-9


class RateEstimator:
    """Finds the server's limit from which requests it accepts and which it answers with 429.

    The rate starts slowly and doubles about twice a second until the first 429. A 429 begins an episode: requests only
    trickle until one is accepted again, as a window may have to end. Then the rate is held, and raised gently:
    a 429 during the hold means that the server was at its limit throughout, so accepted ÷ elapsed is that limit; one
    during the climb, that the rate at that moment was slightly too high. Either way the rate goes just under that, and
    each hold is as long as the whole time since the last 429: probes become ever rarer. Where 429s come as often at a
    much slower rate, they are noise: the descent is undone, and as many are excused. Idle time counts for nothing.
    """

    def __init__(self, *, ceiling: float, adaptive: bool = True) -> None:
        """Start slowly where adaptive; else stay at the ceiling, and only trickle while the server refuses."""
        self._ceiling = ceiling
        self._adaptive = adaptive
        self._rate = min(ceiling, _START) if adaptive else ceiling
        self._filter = spurious_429.Spurious429Filter()
        self._trickle: float | None = None
        self._limited = -math.inf
        self._refused_since = 0.0
        self._at = -math.inf
        self._busy = 0.0  # seconds in which requests were being sent: the clock of all that follows
        self._hold_until: float | None = None
        self._climb = _FIRST_CLIMB
        self._accepted = 0
        self._steady = (0.0, 0.0)
        self._episode = 0.0
        self._recent: collections.deque[float] = collections.deque()

    def rate(self, now: float) -> float:
        """Give the requests a second that may be sent now."""
        return self._rate if self._trickle is None else min(self._rate, self._trickle)

    def accepted(self, *, sent: float, now: float) -> None:
        """Note an answer other than 429 to a request of the time `sent`."""
        seconds = self._pass(now)
        self._accepted += 1
        self._recent.append(self._busy)
        recently = self._accepted_recently()
        self._filter.accepted(self._rate)
        if sent >= self._limited:
            self._trickle = None
        if not self._adaptive or self._trickle is not None:
            return
        self._judge()
        if self._filter.probing:
            return
        if self._hold_until is None:
            useful = max(_START, 2 * recently / _RECENT_SECONDS)
            self._rate = min(self._ceiling, max(self._rate, min(self._rate + _GROWTH, useful)))
        elif self._busy > self._hold_until:
            seconds = min(seconds, self._busy - self._hold_until)
            self._rate = min(self._ceiling, self._rate * (1 + self._climb * seconds))

    def limited(self, *, sent: float, now: float) -> bool:
        """Note a 429 to a request of the time `sent`; tell whether it changed anything.

        A request that left before the last cut, or in the same instant, says nothing new.
        """
        self._pass(now)
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

    def _judge(self) -> None:
        """Undo the descent where it was for nothing."""
        top, probing = self._filter.top, self._filter.probing
        noise = self._filter.classify()
        if noise:
            self._rate = max(self._rate, top)
            self._climb = _FIRST_CLIMB
            if not probing:
                self._hold_until = None
        elif noise is False and probing:
            self._hold_until = self._busy + _HOLD_SECONDS
            self._climb = max(_LAST_CLIMB, self._climb / 2)

    def _pass(self, now: float) -> float:
        """Let the time since the last answer pass; give its seconds, or 0 where that was idle."""
        seconds, self._at = max(0.0, now - self._at), max(now, self._at)
        if seconds > max(_IDLE_SECONDS, 2 / self.rate(now)):
            self._filter.rested()
            return 0.0
        self._busy += seconds
        return seconds

    def _cut(self) -> None:
        """Set the rate under the limit, as well as it can be told."""
        elapsed = 0.0 if self._hold_until is None else self._busy - self._episode  # the first 429 follows no other
        self._lower(elapsed)
        self._hold_until = self._busy + max(_HOLD_SECONDS, min(_LONGEST_HOLD, elapsed))
        self._episode = self._busy
        self._accepted = 0

    def _lower(self, elapsed: float) -> None:
        if self._hold_until is None:
            self._rate = self._used() * _FIRST_CUT
        elif self._busy <= self._hold_until:
            self._rate = _MARGIN * max(self._measured(elapsed), _LARGEST_CUT * self._rate if elapsed < 1 else 0.0)
            if self._filter.suspected:
                self._rate = min(self._rate, _PROBE * self._filter.top)
        else:
            self._steady = (0.0, 0.0)
            self._rate = self._used() * _MARGIN
            self._climb = max(_LAST_CLIMB, self._climb / 2)

    def _measured(self, elapsed: float) -> float:
        """Give accepted ÷ elapsed between two 429s at a steady rate, smoothed over those that follow each other."""
        if self._accepted < _ENOUGH:
            return self._rate * _FIRST_CUT
        accepted, seconds = self._accepted + self._steady[0] / 2, elapsed + self._steady[1] / 2
        self._steady = (accepted, seconds)
        return min(self._rate, accepted / max(seconds, _NOTHING))

    def _used(self) -> float:
        """Give the rate in use, or less where there was not enough to send to use it."""
        seconds = min(_RECENT_SECONDS, max(_FEWEST_SECONDS, self._busy))
        return min(self._rate, max(1.0, 1.5 * self._accepted_recently() / seconds))

    def _accepted_recently(self) -> int:
        while self._recent and self._recent[0] < self._busy - _RECENT_SECONDS:
            self._recent.popleft()
        return len(self._recent)
