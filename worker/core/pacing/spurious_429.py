"""Tells 429s caused by a rate limit from 429s that would come at any rate, as from a faulty server.

Invariant: pure; decides by the recorded replies alone. Neighbours: `rate_estimator` asks, and lowers the rate.
"""

import dataclasses

# Chosen by simulation (tests/core/test_rate_estimator.py).
_SLOWER = 0.7  # of the first rate, and less: a limit that refuses less than a third there refuses nothing here
_HIGHER = 1.5  # times the first rate: start counting again
_EVIDENCE = 4  # 429s at a slower rate needed for a classification
_ALIKE = 3.0  # a share up to so many times smaller at the slower rate counts as equal,
_OFTENER = 6.0  # and one so many times larger means that the limit has just fallen
_SMALLEST_SHARE = 0.02  # of all requests; fewer may be the regular 429s of a limit that counts in windows,
_LARGEST_SHARE = 1 / 3  # and more are a limit
_ALLOWED = 2.0  # times the spurious share is ignored,
_LARGEST_ALLOWANCE = 6.0  # and up to so many 429s at once
_STRAY = 0.01  # share of 429s that is ignored at a rate below the limit as measured
_STRAYS = 3  # such 429s, each on its own, are evidence enough


@dataclasses.dataclass(slots=True)
class _Tally:
    """The replies at a certain rate."""

    accepted: int = 0
    refused: int = 0

    @property
    def share(self) -> float:
        """Return the share of 429s, never quite 0 or 1, as there may be few replies."""
        return max(1, self.refused) / (1 + self.refused + self.accepted)


class Spurious429Filter:
    """Classifies 429s by the effect of a lower rate.

    Below a real limit 429s stop; spurious ones keep their share. They are ignored for as long as it stays about the
    same. A server that refuses one request after another counts in windows; that is never spurious.
    """

    _allowance: float
    _near: _Tally
    _slower: _Tally

    def __init__(self) -> None:
        """Start with the assumption that every 429 is caused by a limit."""
        self._share = 0.0
        self._stray_allowance, self._strays = 0.0, 0
        self._begin(0.0)

    @property
    def finds_spurious(self) -> bool:
        """Return whether the present 429s are spurious."""
        return self._share > 0

    def accepted(self, rate: float) -> None:
        """Record a request that was accepted at this rate."""
        self._tally(rate).accepted += 1
        self._allowance = min(_LARGEST_ALLOWANCE, self._allowance + _ALLOWED * self._share)
        self._stray_allowance = min(1.0, self._stray_allowance + _STRAY)

    def refused(self, rate: float, *, again: bool) -> None:
        """Record a 429 at this rate; `again` means that none was accepted since the last, or that a pause is asked."""
        self._tally(rate).refused += 1
        self._again += again

    def should_ignore(self, *, unexpected: bool) -> bool:
        """Return whether the 429 just recorded must not lower the rate; `unexpected` at a rate that was fine so far."""
        if self._share:
            self._allowance -= 1
            if self._allowance < 0:
                self._share = 0.0
                self._begin(0.0)
            return self._share > 0
        return unexpected and self._is_stray()

    def classify(self, rate: float, *, first: bool) -> float | None:
        """Return the rate to go back to if the 429s so far are spurious, else None.

        `rate` is the lowered one; `first` means that no limit was known until now.
        """
        if first:
            self._top = rate
        elif rate > _HIGHER * self._top:
            self._begin(rate)
        if self._share or self._slower.refused < _EVIDENCE:
            return None
        refused = self._near.refused + self._slower.refused
        share = refused / (refused + self._near.accepted + self._slower.accepted)
        alike = self._near.share / _ALIKE <= self._slower.share <= self._near.share * _OFTENER
        if alike and _SMALLEST_SHARE <= share <= _LARGEST_SHARE and self._again <= refused / 2:
            self._share = share
            return self._top
        self._begin(rate)
        return None

    def _is_stray(self) -> bool:
        """Return whether such a 429 is rare enough; a real limit refuses again soon."""
        if self._stray_allowance < 1:
            self._strays = 0
            return False
        self._stray_allowance = 0.0
        self._strays += 1
        if self._strays == _STRAYS:
            self._strays, self._share = 0, _STRAY
        return True

    def _tally(self, rate: float) -> _Tally:
        return self._slower if rate <= _SLOWER * self._top else self._near

    def _begin(self, top: float) -> None:
        """Count anew, and compare the rate `top` with slower ones."""
        self._top = top
        self._again = 0
        self._allowance = _LARGEST_ALLOWANCE
        self._near = _Tally()  # at about the rate `top`
        self._slower = _Tally()  # and at a slower one
