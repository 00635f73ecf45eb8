"""Tells 429s that are noise from those that mean a limit.

Invariant: pure; nothing but the requests noted decides. Neighbours: `rate` asks, and obeys in how it cuts.
"""

# Chosen by simulation (tests/core/test_rate_estimator.py).
_SLOWER = 0.7  # of the rate at first: a limit that refuses less than a third there refuses nothing here
_FIRST_EVIDENCE = 3  # 429s at the slower rate that make a judgement at first,
_EVIDENCE = 4  # when it is looked at again,
_MOST_EVIDENCE = 16  # and at most, after false judgements
_LEAST_SUSPICION = 4  # 429s without a judgement until the rate is lowered on purpose, at first,
_MOST_SUSPICION = 64  # and in the end, where slowing down has helped
_FIRST_MEMORY = 10  # 429s that are excused until the next look, at first,
_LONGEST_MEMORY = 80  # and in the end
_ALIKE = 3.0  # times rarer at the slower rate is no difference yet,
_OFTENER = 6.0  # and so many times more frequent something else: the limit has just fallen
_RARER = 5.0  # times the usual number accepted between two 429s: slowing down has helped
_HIGHER = 1.5  # times the rate at first: a new beginning
_MOST_NOISE = 1 / 3  # of all requests
_EXCUSED = 2.0  # times the noise is still noise,
_PATIENCE = 6.0  # and so many 429s at once


class Spurious429Filter:
    """Tells 429s that have nothing to do with our rate, as those of a faulty server, by what slowing down does to them.

    At a true limit they become rare, else their share stays; and the end of a window refuses again and again. Noise is
    excused while it is about that share, and looked at again as it is more, or after some time.
    """

    def __init__(self) -> None:
        """Start with no doubt that 429s mean a limit."""
        self._share = 0.0
        self._gap = 0
        self._suspicion, self._memory, self._evidence = _LEAST_SUSPICION, _FIRST_MEMORY, _FIRST_EVIDENCE
        self._allowance = 0.0
        self.probing = False
        self._begin(0.0)

    def accepted(self, rate: float) -> None:
        """Note a request that was accepted at this rate."""
        self._accepted[self._is_slower(rate)] += 1
        self._gap += 1
        self._allowance = min(_PATIENCE, self._allowance + _EXCUSED * self._share)

    def refused(self, rate: float, *, used: float, again: bool) -> None:
        """Note a 429 at this rate; `again` where nothing was accepted since the last."""
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

    def rested(self) -> None:
        """Forget what was counted: after a pause a true limit too accepts as many at any rate."""
        if not self._share:
            self._begin(0.0)

    def should_ignore(self) -> bool:
        """Tell whether the 429 just noted is one of those to be expected."""
        if self._allowance < 1 or not (self.probing or self._refused[False] < self._memory):
            return False
        self._allowance -= 1
        return True

    def start_probe(self, rate: float) -> bool:
        """Tell whether to look at a slower rate, now that there are more 429s than excused, or for long."""
        if self.probing:
            self._conclude(noise=False, share=0.0)
        if not self._share:
            return False
        self.top, self.probing, self._allowance = rate, True, _PATIENCE
        return True

    @property
    def suspected(self) -> bool:
        """Tell whether a slower rate would settle what the 429s mean."""
        return self._refused[False] >= self._suspicion and not self._refused[True]

    def classify(self) -> bool | None:
        """Tell, once there is evidence, whether the 429s at the rate `top` were noise."""
        before, after = (max(1, r) / (1 + r + a) for r, a in zip(self._refused, self._accepted, strict=True))
        enough = self._refused[True] >= (_EVIDENCE if self.probing else self._evidence)
        if not enough and not (self.probing and self._accepted[True] * before > _EVIDENCE * _ALIKE):
            return None
        refused = sum(self._refused)
        share = refused / (refused + sum(self._accepted))
        alike = enough and before / _ALIKE <= after and (self.probing or after <= before * _OFTENER)
        noise = alike and share <= _MOST_NOISE and self._again <= refused / 2
        some_left = self.probing and self._refused[True] > 1 and after * _ALIKE < before
        self._conclude(noise=noise, share=share if noise else after if some_left else 0.0)
        return noise

    def _conclude(self, *, noise: bool, share: float) -> None:
        if self.probing:
            self._evidence = _FIRST_EVIDENCE if noise else min(_MOST_EVIDENCE, 2 * self._evidence)
            self._memory = min(_LONGEST_MEMORY, 2 * self._memory) if noise else _FIRST_MEMORY
        if noise:
            self._suspicion = _LEAST_SUSPICION
        self._share = share
        self._begin(self.top if noise else 0.0)

    def _is_slower(self, rate: float) -> bool:
        return self.probing if self._share else rate <= _SLOWER * self.top

    def _begin(self, top: float) -> None:
        self.top = top
        self.probing = False
        self._again = 0
        self._allowance = _PATIENCE if self._share else 0.0
        self._accepted = [0, 0]  # at about the rate `top`, and at a slower one
        self._refused = [0, 0]
