"""Draws a world from a seed: the account, how Charge behaves in it, the settings, and what befalls every life.

Invariant: everything follows from the seed. Neighbours: `documents` draws what the sources say, `world` plays it.
"""

import dataclasses
import datetime
import random
from collections.abc import Mapping, Sequence

from tests.simulation import audit, fault_points
from tests.support import clocks
from worker.core.model.desired import Mode
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.sandbox import fake_data, faults, quirks, state

KINDS = (
    *("any",) * 6,
    *("POST", "POST answered") * 6,
    *("GET", "GET answered") * 2,
    *("begin", "begin answered", "record", "record answered") * 3,
    *("open", "open answered", "check", "check answered", "finish", "finish answered", "remember", "source"),
)
"""Where things happen; what matters most is drawn most often."""

_FAULTS = faults.NAMES.keys() - faults.LATE - {"forbidden", "malformed", "not_kept"}

STRIKES = (
    *("crash",) * 16,
    *("stop", "cut", "revoke", "lose lock", "fill disk", "stumble", "pause", "meddle", "edit") * 2,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of an account."""

    mode: Mode
    limits: guard.Limits
    policy: retry_policy.RetryPolicy
    page_size: int
    rate: float
    burst: int
    adaptive: bool
    concurrency: int
    timeout: float


@dataclasses.dataclass(frozen=True)
class Life:
    """One process: how many runs it makes if nothing befalls it, what does, and how long nobody runs afterwards.

    `weather` is how often which fault befalls any request, `storms` a write besides.
    """

    moments: tuple[fault_points.Moment, ...]
    runs: int
    interval: float
    pause: float
    edits: bool
    spoilt: bool
    meddling: float
    slowness: float
    weather: Mapping[str, float]
    storms: Mapping[str, float]


Quirks = quirks.Quirks


@dataclasses.dataclass(frozen=True)
class Spec:
    """A world before anything happens in it."""

    seed: int
    settings: Settings
    quirks: Quirks
    boundaries: tuple[datetime.datetime, ...]
    lives: tuple[Life, ...]
    approving: bool


def spec(seed: int, held: audit.RecordedState) -> Spec:
    """Draw everything about a world but its account, which is filled, and its documents."""
    chance = random.Random(f"world {seed}")
    _populate(held, chance)
    hours = sorted(chance.choice((0.01, 0.1, 1.0, 14.0, 26.0)) * (1 + chance.random()) for _ in range(4))
    return Spec(
        seed=seed,
        settings=_settings(chance, held),
        quirks=_quirks(chance),
        boundaries=tuple(clocks.NOON + datetime.timedelta(hours=each) for each in hours),
        lives=tuple(_life(chance) for _ in range(chance.choice((1, 2, 2, 3, 3, 4)))),
        approving=chance.random() < 0.5,
    )


def calm(stormy: quirks.Quirks) -> quirks.Quirks:
    """Give the same Charge without what makes convergence impossible."""
    return dataclasses.replace(stormy, page_cap=None, total_drivers_offset=0, read_only=False, rate=None)


def _populate(held: audit.RecordedState, chance: random.Random) -> None:
    count = chance.choice((1, 2, 3, 3, 4, 5, 6))
    names = [f"Fleet {number}" for number in range(count)]
    if count > 2 and chance.random() < 0.15:
        names[1] = names[0]
    odd: tuple[state.Status, ...] = ("active",) * 12 + ("suspended", "archived")
    fleets = [held.add_fleet(name=name, status=chance.choice(odd)) for name in names]
    drivers = 3 + int(37 * chance.random() ** 2)
    for number in range(drivers):
        held.add_driver(
            email=f"{'Driver' if number % 5 == 0 else 'driver'}{number}@example.com",
            metadata={"employee_id": f"{number:04d}", "depot": str(number % 4)},
            fleets=chance.sample(fleets, min(count, chance.choice((0, 1, 1, 1, 1, 2, 3)))),
            status=chance.choice(odd),
        )


def _settings(chance: random.Random, held: audit.RecordedState) -> Settings:
    rate = chance.choice((5.0, 25.0, 25.0, 100.0, 1000.0))
    return Settings(
        mode=Mode.ADDITIVE if chance.random() < 0.1 else Mode.EXACT,
        limits=_limits(chance, held),
        policy=retry_policy.RetryPolicy(
            chance.choice((1, 2, 3, 4, 6)), chance.choice((0.05, 0.5)), chance.choice((1.0, 30.0))
        ),
        page_size=chance.choice((1, 2, 3, 5, 10, 100)),
        rate=rate,
        burst=chance.choice((1, 2, 5, 10)),
        adaptive=chance.random() < 0.7,
        concurrency=chance.choice((1, 2, 4, 16)),
        timeout=chance.choice((1.0, 5.0)),
    )


def _limits(chance: random.Random, held: audit.RecordedState) -> guard.Limits:
    must_see = frozenset[tuple[DriverId, FleetId]]()
    if chance.random() < 0.1 and held.memberships():
        driver, fleet = chance.choice(sorted(held.memberships()))
        must_see = frozenset({(DriverId(driver), FleetId(fleet))})
    if chance.random() < 0.6:
        return guard.Limits(1.0, 1.0, allow_emptying_fleets=chance.random() < 0.7, must_see=must_see)
    return guard.Limits(
        max_detach_fraction_per_fleet=chance.choice((0.1, 0.25, 0.5)),
        max_detach_fraction=chance.choice((0.05, 0.1, 0.5)),
        always_allow=chance.choice((0, 1, 2)),
        must_see=must_see,
    )


def _quirks(chance: random.Random) -> quirks.Quirks:
    limited = chance.random() < 0.4
    return quirks.Quirks(
        already_attached=chance.choice(("ok", "conflict")),
        not_attached=chance.choice(("ok", "conflict")),
        suspended_driver=chance.choice(("accept", "conflict", "policy_blocked")),
        archived_driver=chance.choice(("accept", "conflict", "policy_blocked")),
        suspended_fleet=chance.choice(("accept", "conflict", "policy_blocked")),
        archived_fleet=chance.choice(("accept", "conflict", "policy_blocked")),
        not_found=chance.choice(("precise", "combined")),
        read_only=chance.random() < 0.03,
        null_lists=chance.random() < 0.5,
        pages=chance.choice(("offset", "cursor")),
        page_cap=chance.choice((3, 10)) if chance.random() < 0.05 else None,
        unknown_filter=chance.choice(("not_found", "empty")),
        total_drivers_offset=chance.choice((-1, 1)) if chance.random() < 0.05 else 0,
        rate=chance.choice((4.0, 20.0, 50.0)) if limited else None,
        limit=chance.choice(("bucket", "fixed", "sliding")),
        burst=chance.choice((None, 1, 5)),
        window_seconds=chance.choice((1.0, 1.0, 10.0)),
        retry_after=chance.choice(("none", "seconds", "date")),
        rate_limit_headers=chance.random() < 0.5,
        stored_5xx=chance.choice(("replay", "rerun", "outcome")),
        reused_key=chance.choice(("first_answer", "bad_request", "conflict")),
        latency_seconds=chance.choice((0.0, 0.02, 0.05, 0.3)),
        request_id_header=chance.random() < 0.8,
        unknown_values=chance.random() < 0.3,
    )


def _life(chance: random.Random) -> Life:
    moments = tuple(
        fault_points.Moment(kind := chance.choice(KINDS), _nth(chance, kind), chance.choice(STRIKES))
        for _ in range(chance.choice((0, 1, 2, 2, 3, 4)))
    )
    return Life(
        moments=moments,
        runs=chance.choice((1, 1, 2, 3)),
        interval=chance.choice((1.0, 60.0, 300.0)),
        pause=chance.choice((2.0, 60.0, 3600.0, 13 * 3600.0, 25 * 3600.0)),
        edits=chance.random() < 0.5,
        spoilt=chance.random() < 0.07,
        meddling=chance.choice((0.0, 0.0, 0.005, 0.02, 0.1)),
        slowness=chance.choice((0.0, 0.002, 0.02, 0.2)),
        weather=_weather(chance, sorted(_FAULTS), calm=0.5),
        storms=_weather(chance, sorted(_FAULTS - faults.LISTS), calm=0.3),
    )


def _nth(chance: random.Random, kind: str) -> int:
    if kind == "any":
        return chance.randint(1, 120)
    return chance.randint(1, 30 if kind.startswith("GET") else 6 if kind.startswith(("POST", "check")) else 2)


def _weather(chance: random.Random, names: Sequence[str], *, calm: float) -> Mapping[str, float]:
    """Draw how often which faults happen; `calm` is how often there are none at all."""
    if chance.random() < calm:
        return {}
    drawn = chance.sample(names, chance.randint(1, 5))
    return {name: chance.choice((0.02, 0.05, 0.1, 0.3, 0.3, 0.6, 1.0)) for name in drawn}


def generator(seed: int, what: str) -> random.Random:
    """Make a source of choices of its own for one purpose."""
    return fake_data.generator(audit.hash_of(seed, what))
