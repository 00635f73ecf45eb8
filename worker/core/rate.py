"""How fast to send: a spacing of requests, and an estimate of a limit that nobody tells.

Invariants: never faster than the ceiling; a 429 never raises the rate; everything follows from the times passed in
(seconds on any steady clock). Neighbours: `engine.pacing` waits as told here; the tests simulate servers against this.
"""

import collections

# Chosen by simulation (tests/core/test_rate.py) against token buckets, fixed and sliding windows of one second.
_START = 50.0  # requests a second before anything is known
_GROWTH = 1.5  # requests a second more for each one accepted, until the first 429
_FIRST_CLIMB = 0.4  # of the rate, a second: how fast it is raised after a hold at first,
_LAST_CLIMB = 0.05  # and in the end
_FIRST_CUT = 0.8  # of the rate in use, while the limit cannot be told
_LARGEST_CUT = 0.6  # of the rate, on a measurement of less than a second
_MARGIN = 0.95  # of the limit, as measured
_ENOUGH = 10  # requests that make a measurement
_TRICKLE = 20.0  # requests a second at most while the server refuses
_HOLD_SECONDS = 1.1  # no climb for so long, so that a window of a second has shown itself,
_LONGEST_HOLD = 120.0  # and at the longest
_RECENT_SECONDS = 0.4  # in which the rate in use is counted
_NOTHING = 1e-9


class Spacing:
    """A token bucket: at most `burst` requests at once, and in the long run no more than the rate, which may change."""

    def __init__(self, *, burst: int, now: float) -> None:
        """Start with the whole burst available.

        It is one less than allowed, so that requests which the network delays and bunches still keep to the limit.
        """
        self._depth = float(max(1, burst - 1))
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


class Estimator:
    """Finds the server's limit from which requests it accepts and which it answers with 429.

    The rate starts slowly and doubles about twice a second until the first 429. A 429 begins an episode: requests only
    trickle until one is accepted again, as a window may have to end. Then the rate is held, and raised gently:
    a 429 during the hold means that the server was at its limit throughout, so accepted ÷ elapsed is that limit; one
    during the climb, that the rate at that moment was slightly too high. Either way the rate goes just under that, and
    each hold is as long as the whole time since the last 429: probes become ever rarer.
    """

    def __init__(self, *, ceiling: float, adaptive: bool = True) -> None:
        """Start slowly where adaptive; else stay at the ceiling, and only trickle while the server refuses."""
        self._ceiling = ceiling
        self._adaptive = adaptive
        self._rate = min(ceiling, _START) if adaptive else ceiling
        self._trickle: float | None = None
        self._limited = float("-inf")
        self._hold_until: float | None = None
        self._climbed = 0.0
        self._climb = _FIRST_CLIMB
        self._accepted = 0
        self._steady = (0.0, 0.0)
        self._episode = float("-inf")
        self._recent: collections.deque[float] = collections.deque()

    def rate(self, now: float) -> float:
        """Give the requests a second that may be sent now."""
        if self._trickle is not None:
            return min(self._rate, self._trickle)
        if self._adaptive and self._hold_until is not None and now > self._hold_until:
            since = now - max(self._climbed, self._hold_until)
            self._climbed = now
            self._rate = min(self._ceiling, self._rate * (1 + self._climb * since))
        return self._rate

    def accepted(self, *, sent: float, now: float) -> None:
        """Note an answer other than 429 to a request of the time `sent`."""
        self._accepted += 1
        self._recent.append(now)
        while self._recent[0] < now - _RECENT_SECONDS:
            self._recent.popleft()
        if sent >= self._limited:
            self._trickle = None
        if self._adaptive and self._hold_until is None:
            useful = max(_START, 2 * len(self._recent) / _RECENT_SECONDS)
            self._rate = min(self._ceiling, max(self._rate, min(self._rate + _GROWTH, useful)))

    def limited(self, *, sent: float, now: float) -> bool:
        """Note a 429 to a request of the time `sent`; tell whether it changed anything.

        A request that left before the last cut, or in the same instant, says nothing new.
        """
        if sent <= self._limited:
            return False
        if self._trickle is None:
            self._trickle = _TRICKLE
            if self._adaptive:
                self._cut(now)
            self._episode = now
            self._accepted = 0
        else:
            self._trickle = min(_TRICKLE, 3 / (now - self._episode))
        self._limited = now
        return True

    def _cut(self, now: float) -> None:
        """Set the rate under the limit, as well as it can be told."""
        elapsed = 0.0 if self._hold_until is None else now - self._episode  # the first 429 follows no other
        if self._hold_until is None:
            self._rate = self._used() * _FIRST_CUT
        elif now <= self._hold_until:
            self._rate = _MARGIN * max(self._measured(elapsed), _LARGEST_CUT * self._rate if elapsed < 1 else 0.0)
        else:
            self._steady = (0.0, 0.0)
            self._rate = self._used() * _MARGIN
            self._climb = max(_LAST_CLIMB, self._climb / 2)
        self._hold_until = self._climbed = now + max(_HOLD_SECONDS, min(_LONGEST_HOLD, elapsed))

    def _measured(self, elapsed: float) -> float:
        """Give accepted ÷ elapsed between two 429s at a steady rate, smoothed over those that follow each other."""
        if self._accepted < _ENOUGH:
            return self._rate * _FIRST_CUT
        accepted, seconds = self._accepted + self._steady[0] / 2, elapsed + self._steady[1] / 2
        self._steady = (accepted, seconds)
        return min(self._rate, accepted / seconds)

    def _used(self) -> float:
        """Give the rate in use, or less where there was not enough to send to use it."""
        return min(self._rate, max(1.0, 1.5 * len(self._recent) / _RECENT_SECONDS))
