"""Judges a storm by what the imitation of Charge saw and what the journal says.

Invariant: nothing of the program decides here. Neighbours: `charge` records the writes, `database` reads the journal,
`nemesis` planned what happened.
"""

import bisect
import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence

ROUNDING = 0.002
"""The journal keeps milliseconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """A write that arrived at Charge, at `at` seconds after the start."""

    account: str
    key: str
    at: float


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """The epoch in which the journal has a key. `resent`: a later run may have sent it once more."""

    epoch: int
    resent: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """The worker of an account when the table was read: `worker` is empty if its last one had released it."""

    epoch: int
    worker: str


@dataclasses.dataclass(frozen=True, slots=True)
class Stale:
    """A write of an earlier epoch that arrived after one of a later epoch."""

    arrival: Arrival
    epoch: int
    seen: int


@dataclasses.dataclass(frozen=True, slots=True)
class Writes:
    """What became of the writes: stale ones, ones that the journal does not know, ones whose epoch is not sure."""

    stale: tuple[Stale, ...]
    unknown: tuple[Arrival, ...]
    unsure: int


def writes(arrivals: Iterable[Arrival], origins: Mapping[tuple[str, str], Origin]) -> Writes:
    """Judge the writes by the epoch of each, which `origins` has by account and idempotency key."""
    newest: dict[str, int] = {}
    stale, unknown, unsure = [], [], 0
    for arrival in sorted(arrivals, key=lambda each: each.at):
        origin = origins.get((arrival.account, arrival.key))
        seen = newest.get(arrival.account, 0)
        if origin is None:
            unknown.append(arrival)
        elif origin.epoch >= seen:
            newest[arrival.account] = origin.epoch
        elif origin.resent:
            unsure += 1
        else:
            stale.append(Stale(arrival, origin.epoch, seen))
    return Writes(tuple(stale), tuple(unknown), unsure)


def longest_gap(starts: Iterable[float], *, begin: float, end: float) -> float:
    """Return the longest time without a run that began, from `begin` to `end`."""
    moments = [begin, *sorted(start for start in starts if begin < start < end), end]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


def take_overs(
    away: Sequence[tuple[float, float, str]], looks: Sequence[tuple[float, Mapping[str, Owner]]], *, least: float
) -> list[float]:
    """Return how long it took until another worker had each account that a worker left behind.

    `away` has from when to when a worker of this name was stopped or dead; absences shorter than `least` do not count,
    because nobody has to take over. An account that its own worker goes on with, or that was released meanwhile, was
    not taken over.
    """
    taken = []
    for begin, end, worker in away:
        if end - begin < least:
            continue
        before = max((look for look in looks if look[0] <= begin), key=lambda look: look[0], default=None)
        if before is None:
            continue
        held = {name: owner.epoch for name, owner in before[1].items() if owner.worker == worker}
        for name, epoch in held.items():
            taken.append(_taken(name, epoch, begin, looks))
    return [seconds for seconds in taken if seconds is not None]


def _taken(name: str, epoch: int, begin: float, looks: Sequence[tuple[float, Mapping[str, Owner]]]) -> float | None:
    for at, owners in looks:
        if at <= begin or name not in owners:
            continue
        if owners[name].epoch > epoch:
            return at - begin
        if not owners[name].worker:
            return None  # it was released a moment before
    return math.inf


def lags(dues: Sequence[Mapping[str, float]], starts: Mapping[str, Sequence[float]]) -> list[float]:
    """Return how long after it was due each run began, as far as the looks at the table saw that it was due."""
    found = []
    seen: dict[str, set[float]] = {}
    for look in dues:
        for name, due in look.items():
            seen.setdefault(name, set()).add(due)
    for name, moments in seen.items():
        began = sorted(starts.get(name, ()))
        for due in moments:
            place = bisect.bisect_left(began, due - ROUNDING)
            if place < len(began):
                found.append(max(0.0, began[place] - due))
    return found


def excess(moments: Iterable[float], *, rate: float, burst: float) -> float:
    """Return by how many requests the worst of all windows exceeds `rate` times its length, plus `burst`.

    Nothing above zero if none does.
    """
    worst, lowest = -math.inf, math.inf
    for number, at in enumerate(sorted(moments)):
        level = number - rate * at
        lowest = min(lowest, level)
        worst = max(worst, level - lowest + 1 - burst)
    return worst


def most_within(moments: Iterable[float], seconds: float) -> int:
    """Return the most requests within any window of this length."""
    ordered = sorted(moments)
    return max(
        (number + 1 - bisect.bisect_right(ordered, at - seconds) for number, at in enumerate(ordered)), default=0
    )


def is_process(worker: str, pid: int) -> bool:
    """Return whether a worker's name in the database says that it is this process."""
    return str(pid) in re.findall(r"[0-9]+", worker)


def quantile(numbers: Sequence[float], fraction: float) -> float:
    """Return the smallest number that this fraction of all does not exceed; 0 of none."""
    ordered = sorted(numbers)
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)] if ordered else 0.0
