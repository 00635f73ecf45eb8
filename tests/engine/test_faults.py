"""Weather: the whole engine before a sandbox in which everything goes wrong, on virtual time and over many seeds.

Whatever happens: nothing wrong is ever done, no logical write takes effect twice, and at most three runs converge.
"""

import collections
import random

import anyio
import pytest

from tests.support import doubles, harness
from tests.support import sandbox as support
from worker.charge import transport
from worker.core.model.plan import Action
from worker.core.model.report import Report, RunResult
from worker.sandbox import faults, quirks, state

pytestmark = pytest.mark.anyio

FAULTS = ["500", "500_after", "503", "reset_before", "reset_after", "truncated", "html", "hang"]
MORE = ["hang_after", "gateway_timeout", "html_200", "wrong_types", "rate_limited", "rate_limited_seconds", "repeat"]
SEEDS = range(12)
LATE_EFFECTS = 121.0
"""Seconds after which an unclear write can no longer take effect."""

RUNS = 3


class World:
    """A generated account, what is wanted of it, and a witness at every connection."""

    def __init__(self, seed: int, rates: dict[str, float], *, conduct: quirks.Quirks) -> None:
        chance = random.Random(seed)
        self.state = state.SandboxState.populate(drivers=14, fleets=4, seed=seed)
        drivers, fleets = sorted(self.state.drivers), sorted(self.state.fleets)
        self.wanted = {fleet: chance.sample(drivers, chance.randint(1, 6)) for fleet in fleets[:3]}
        self.others = {pair for pair in self.state.memberships() if pair[1] == fleets[3]}
        self.missing: list[str] = []
        self.account_harness = harness.Harness(
            self.state,
            quirks=conduct,
            faults=faults.Faults(rates, seed=seed),
            seed=seed,
            timeout=1.0,
            page_size=5,
            new_transport=lambda: doubles.IntentCheckingTransport(
                support.transport(self.account_harness.sandbox), self.account_harness.memory, self.missing
            ),
        )
        self.before = self.managed

    @property
    def managed(self) -> set[tuple[str, str]]:
        """Return the memberships that there are in the managed fleets."""
        return {(driver, fleet) for driver, fleet in self.state.memberships() if fleet in self.wanted}

    @property
    def desired(self) -> set[tuple[str, str]]:
        """Return the memberships that are wanted."""
        return {(driver, fleet) for fleet, drivers in self.wanted.items() for driver in drivers}

    async def converge(self) -> list[Report]:
        """Run until nothing is left to do, but no more than three times."""
        reports: list[Report] = []
        while len(reports) < RUNS and self.managed != self.desired:
            reports.append(await self.account_harness.reconcile(self.wanted))
            self.check(reports[-1])
            await anyio.sleep(LATE_EFFECTS)  # else a write whose key is lost waits for its late effect
        return reports

    def check(self, finished: Report) -> None:
        """Check that nothing wrong was done up to now, and that the report says what is so."""
        attached, detached = self.managed - self.before, self.before - self.managed
        assert attached <= self.desired
        assert detached.isdisjoint(self.desired)
        assert {pair for pair in self.state.memberships() if pair[1] not in self.wanted} == self.others
        assert self.missing == []
        changed = collections.Counter(
            (effect.action, effect.driver, effect.fleet) for effect in self.state.effects if effect.changed
        )
        assert set(changed.values()) <= {1}
        for result in finished.results:
            made = (result.change.driver, result.change.fleet) in self.managed
            if result.done:
                assert made is (result.change.action is Action.ATTACH)
            elif result.outcome.name in ("refused", "deferred"):
                assert made is (result.change.action is Action.DETACH)
        assert finished.traffic.writes <= len(self.account_harness.writes)

    def keys(self) -> dict[str | None, set[tuple[str, str]]]:
        """Return the requests that each idempotency key was used for."""
        used: dict[str | None, set[tuple[str, str]]] = {}
        for request in self.account_harness.sandbox.requests:
            if request.method == "POST":
                used.setdefault(request.key, set()).add((request.method, request.path))
        return used


async def _assert_weathered(seed: int, rates: dict[str, float], conduct: quirks.Quirks = quirks.PLAUSIBLE) -> None:
    world = World(seed, rates, conduct=conduct)
    reports = await world.converge()
    assert world.managed == world.desired, [finished.counts for finished in reports]
    used = world.keys()
    assert None not in used
    assert all(len(requests) == 1 for requests in used.values())
    assert set(used) <= set(world.account_harness.memory.intents)
    world.account_harness.sandbox.faults = faults.NONE
    writes = len(world.account_harness.writes)
    finished = await world.account_harness.reconcile(world.wanted)
    assert (finished.result, len(world.account_harness.writes)) == (RunResult.IN_SYNC, writes)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FAULTS)
async def test_ten_in_a_hundred_requests_go_wrong_in_one_way(name: str, seed: int) -> None:
    await _assert_weathered(100 * FAULTS.index(name) + seed, {name: 0.1})


@pytest.mark.parametrize("seed", SEEDS)
async def test_ten_in_a_hundred_requests_go_wrong_in_every_way(seed: int) -> None:
    await _assert_weathered(seed, dict.fromkeys(FAULTS, 0.1))


@pytest.mark.parametrize("name", MORE)
async def test_other_weather(name: str) -> None:
    for seed in range(5):
        await _assert_weathered(seed, {name: 0.1})


@pytest.mark.parametrize("stored", ["replay", "rerun", "outcome"])
@pytest.mark.parametrize("repeated", ["ok", "conflict"])
async def test_every_way_to_keep_keys_and_to_answer_what_is_so_already(stored: str, repeated: str) -> None:
    conduct = quirks.Quirks(
        stored_5xx=stored,  # type: ignore[arg-type]
        already_attached=repeated,  # type: ignore[arg-type]
        not_attached=repeated,  # type: ignore[arg-type]
        null_lists=True,
        unknown_values=True,
        pages="cursor",
        not_found="combined",
    )
    for seed in range(5):
        await _assert_weathered(seed, dict.fromkeys(FAULTS, 0.05), conduct)


@pytest.mark.parametrize("key", ["ch_sk_test_sandbox"])
async def test_the_key_is_nowhere_in_what_a_stormy_run_leaves(key: str, log: list[dict[str, object]]) -> None:
    world = World(3, dict.fromkeys([*FAULTS, *MORE], 0.08), conduct=quirks.PLAUSIBLE)
    reports = await world.converge()
    left = [
        repr(reports),
        repr(log),
        repr(vars(world.account_harness.memory)),
        repr(vars(world.account_harness.client)),
    ]
    assert not [words for words in left if key in words]
    assert isinstance(world.account_harness.http, transport.Transport)
    assert key not in repr(world.account_harness.http)
