"""Decides when which worker is stopped or killed, and for how long.

Invariant: the same seed gives the same plan, and at most half of the workers are away at once. Neighbours: `workers`
carries the plan out, `judge` needs to know what happened.
"""

import dataclasses
import enum
import random


class Blow(enum.Enum):
    """What happens to a worker."""

    STOP = "SIGSTOP"
    KILL = "SIGKILL"
    END = "SIGTERM"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A blow that hits a worker `at` seconds after the start; it is back after `seconds`."""

    at: float
    worker: int
    blow: Blow
    seconds: float

    @property
    def end(self) -> float:
        """Return when the worker is back."""
        return self.at + self.seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Storm:
    """How much happens: stops and kills, and how long a worker stays away each time."""

    seconds: float
    workers: int
    stops: int
    kills: int
    shortest_stop: float = 1.0
    longest_stop: float = 14.0
    pause: float = 4.0


def plan(storm: Storm, *, seed: int) -> list[Event]:
    """Return the events in the order of time. Raises ValueError if so many do not fit."""
    rng = random.Random(seed)
    blows = [Blow.STOP] * storm.stops + [Blow.KILL] * storm.kills
    rng.shuffle(blows)
    planned: list[Event] = []
    for blow in blows:
        length = rng.uniform(storm.shortest_stop, storm.longest_stop) if blow is Blow.STOP else storm.pause
        planned.append(_placed(storm, blow, length, rng, planned))
    return sorted(planned, key=lambda event: event.at)


def _placed(storm: Storm, blow: Blow, length: float, rng: random.Random, planned: list[Event]) -> Event:
    for _ in range(10_000):
        event = Event(rng.uniform(0, max(0.0, storm.seconds - length)), rng.randrange(storm.workers), blow, length)
        beside = [other for other in planned if other.at < event.end + 1 and event.at < other.end + 1]
        if len(beside) < storm.workers // 2 and all(other.worker != event.worker for other in beside):
            return event
    raise ValueError(f"no room for {storm.stops} stops and {storm.kills} kills in {storm.seconds} s")
