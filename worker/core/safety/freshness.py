"""Decides how long a proof lasts: a GET that shows a driver in a fleet that the sources want.

Charge has no compare-and-swap, so another writer may act between the proof and the detach. The shorter the proof
lasts, the smaller the gap. Invariant: pure; times are seconds of a clock that also runs while the machine sleeps.
Neighbours: `engine.driver_lane` obtains a proof before each detach of a driver that stays in a fleet.
"""

import dataclasses

MAX_SECONDS = 5.0
MAX_TURNS = 2
"""A proof lasts for 5 seconds or two turns of the rate limiter, whichever is longer: at low rates the detach must still
get its turn in time."""

MAX_PROOFS = 3
"""Proofs that may expire before the detach is deferred."""


@dataclasses.dataclass(frozen=True, slots=True)
class Proof:
    """A proof that counts from the moment when its GET was sent."""

    sent: float
    seconds_between_turns: float

    def is_fresh(self, now: float) -> bool:
        """Return whether a detach may still rely on this proof."""
        return now - self.sent <= max(MAX_SECONDS, MAX_TURNS * self.seconds_between_turns)
