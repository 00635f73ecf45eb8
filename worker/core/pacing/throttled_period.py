"""A period in which the server refuses everything, and how often it is asked meanwhile.

Invariant: pure; time is passed in. Neighbours: `rate_estimator` opens one at a 429 and closes it when a request is
accepted again.
"""

_FIRST_PROBE = 0.05  # seconds until the server is asked again, at least,
_INTERVALS = 3.0  # or so many times the time between two requests,
_LAST_PROBE = 20.0  # and at most
_DENSE = 0.8  # seconds between two probes at most, while the period is short,
_SPARSE = 3.0  # and the fraction of its length afterwards, so that little is lost when it ends
_LONG = 0.15  # of the time since the last 429: the server counts in windows, and this one was used up


class ThrottledPeriod:
    """From a 429 until a request that was sent later is accepted.

    A server that counts in windows refuses until the window ends, so the probes become rarer, and the first one of the
    next period waits for half as long as this one lasted.
    """

    def __init__(self, now: float, busy: float, *, rate: float, pause: float, last: float) -> None:
        """Take the moment by the caller's and by the busy clock, the rate, and the length of the last long period."""
        shortest = max(_FIRST_PROBE, _INTERVALS / rate)
        self.began = busy
        self.pause = pause
        self.windowed = last / 2 >= shortest
        self._first_probe = min(_LAST_PROBE, max(shortest, last / 2))
        self._since = now
        self._last = busy
        self.next_probe = self._first_probe
        """Seconds between two probes."""

    def refused_again(self, now: float, busy: float) -> None:
        """Record a 429 to a probe."""
        seconds = now - self._since
        between = min(seconds, max(_DENSE, seconds / _SPARSE))
        self.next_probe = min(_LAST_PROBE, max(self._first_probe, between))
        self.windowed = True
        self._last = busy

    def length(self, busy: float) -> float:
        """Return how many seconds the server has refused, or 0 if it refused only for a moment."""
        return busy - self.began if self.windowed else 0.0

    def end(self, busy: float) -> float:
        """Return when the limit was as good as new: halfway from the last 429 to the first accepted request."""
        return (self._last + busy) / 2 if self.windowed else self.began

    def was_long(self, busy: float, since: float) -> bool:
        """Return whether the refusal was a notable part of the time since the 429 before."""
        return self.length(busy) > _LONG * (self.end(busy) - since)
