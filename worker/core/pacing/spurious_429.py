"""Tells 429s caused by a rate limit from 429s that would come at any rate.

Invariant: pure; decides by the recorded replies alone. Neighbours: `rate_estimator` asks, and lowers the rate.
"""

# Chosen by simulation (tests/core/test_rate_estimator.py).
_SLOWER = 0.7  # of the first rate: a limit that refuses less than a third there refuses nothing here
_FIRST_EVIDENCE = 3  # 429s at the slower rate needed for the first classification,
_EVIDENCE = 4  # for one during a probe,
_MOST_EVIDENCE = 16  # and at most, after wrong classifications
_LEAST_SUSPICION = 4  # unclassified 429s before the rate is lowered on purpose, at first,
_MOST_SUSPICION = 64  # and at most, while lowering the rate helps
_FIRST_PROBE_INTERVAL = 10  # ignored 429s between two probes, at first,
_LONGEST_PROBE_INTERVAL = 80  # and at most
_ALIKE = 3.0  # a share up to so many times smaller at the slower rate counts as equal,
_OFTENER = 6.0  # and one so many times larger means that the limit has just fallen
_RARER = 5.0  # times the usual number of requests accepted between two 429s: lowering the rate has helped
_HIGHER = 1.5  # times the first rate: start counting again
_LARGEST_SPURIOUS_SHARE = 1 / 3  # of all requests
_ALLOWED = 2.0  # times the spurious share is ignored,
_LARGEST_ALLOWANCE = 6.0  # and up to so many 429s at once


class Spurious429Filter:
    """Classifies 429s by the effect of a lower rate.

    Below a real limit, 429s become rare; spurious ones, as from a faulty server, keep their share. (A server with
    windows refuses one request after another until the window ends; this is never spurious.) Spurious 429s are ignored
    as long as their share stays about the same. The filter probes a lower rate again if they become more frequent, and
    after a number of them.
    """

    def __init__(self) -> None:
        """Start with the assumption that every 429 is caused by a limit."""
        self._share = 0.0
        self._gap = 0
        self._suspicion, self._probe_interval, self._evidence = _LEAST_SUSPICION, _FIRST_PROBE_INTERVAL, _FIRST_EVIDENCE
        self._allowance = 0.0
        self.probing = False
        self._begin(0.0)

    def accepted(self, rate: float) -> None:
        """Record a request that was accepted at this rate."""
        self._accepted[self._is_slower(rate)] += 1
        self._gap += 1
        self._allowance = min(_LARGEST_ALLOWANCE, self._allowance + _ALLOWED * self._share)

    def refused(self, rate: float, *, used: float, again: bool) -> None:
        """Record a 429 at this rate; `again` means that no request was accepted since the last 429."""
        refused = sum(self._refused)
        rarer = refused > 1 and self._gap * refused > _RARER * sum(self._accepted)
        self._gap = 0
        if rarer:
            self._suspicion = min(_MOST_SUSPICION, 2 * self._suspicion)
        if not self._share and (rarer or rate > _HIGHER * self.top):
            self._begin(used)
        else:
            self._refused[self._is_slower(rate)] += 1
            self._again += again

    def forget_counts(self) -> None:
        """Drop the counts after idle time: a real limit, too, then accepts a burst at any rate."""
        if not self._share:
            self._begin(0.0)

    def should_ignore(self) -> bool:
        """Return whether the 429 just recorded is spurious and must not lower the rate."""
        if self._allowance < 1 or not (self.probing or self._refused[False] < self._probe_interval):
            return False
        self._allowance -= 1
        return True

    def start_probe(self, rate: float) -> bool:
        """Start a probe at a lower rate if 429s were classified as spurious before; return whether it started."""
        if self.probing:
            self._conclude(spurious=False, share=0.0)
        if not self._share:
            return False
        self.top, self.probing, self._allowance = rate, True, _LARGEST_ALLOWANCE
        return True

    @property
    def needs_lower_rate(self) -> bool:
        """Return whether a lower rate is needed to classify the 429s."""
        return self._refused[False] >= self._suspicion and not self._refused[True]

    def classify(self) -> bool | None:
        """Return whether the 429s at the rate `top` are spurious, or None while there is too little evidence."""
        before, after = (max(1, r) / (1 + r + a) for r, a in zip(self._refused, self._accepted, strict=True))
        enough = self._refused[True] >= (_EVIDENCE if self.probing else self._evidence)
        if not enough and not (self.probing and self._accepted[True] * before > _EVIDENCE * _ALIKE):
            return None
        refused = sum(self._refused)
        share = refused / (refused + sum(self._accepted))
        alike = enough and before / _ALIKE <= after and (self.probing or after <= before * _OFTENER)
        spurious = alike and share <= _LARGEST_SPURIOUS_SHARE and self._again <= refused / 2
        some_left = self.probing and self._refused[True] > 1 and after * _ALIKE < before
        self._conclude(spurious=spurious, share=share if spurious else after if some_left else 0.0)
        return spurious

    def _conclude(self, *, spurious: bool, share: float) -> None:
        if self.probing:
            self._evidence = _FIRST_EVIDENCE if spurious else min(_MOST_EVIDENCE, 2 * self._evidence)
            longer = min(_LONGEST_PROBE_INTERVAL, 2 * self._probe_interval)
            self._probe_interval = longer if spurious else _FIRST_PROBE_INTERVAL
        if spurious:
            self._suspicion = _LEAST_SUSPICION
        self._share = share
        self._begin(self.top if spurious else 0.0)

    def _is_slower(self, rate: float) -> bool:
        return self.probing if self._share else rate <= _SLOWER * self.top

    def _begin(self, top: float) -> None:
        self.top = top
        self.probing = False
        self._again = 0
        self._allowance = _LARGEST_ALLOWANCE if self._share else 0.0
        self._accepted = [0, 0]  # at about the rate `top`, and at a lower one
        self._refused = [0, 0]
