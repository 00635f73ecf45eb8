"""Kills while Charge carries writes out 1 to 30 seconds after they were sent: journal and server agree in the end.

It waits for real time: only `make kills-late`, with all accounts at once, and `make test-all` run it.
"""

import collections
import random
import time

import pytest

from tests.e2e import conftest
from worker.sandbox import faults, quirks

pytestmark = pytest.mark.slow

KILLS = 5
"""Kills of one account; there are four accounts."""

HORIZON_SECONDS = 40

SETTINGS = {
    "FLEET_SYNC_CHARGE__TIMEOUT_SECONDS": "1",
    "FLEET_SYNC_RETRY__MAX_ATTEMPTS": "2",
    "FLEET_SYNC_RETRY__LATE_EFFECT_SECONDS": str(HORIZON_SECONDS),
    "FLEET_SYNC_GUARD__MAX_DETACH_FRACTION": "1",
    "FLEET_SYNC_GUARD__MAX_DETACH_FRACTION_PER_FLEET": "1",
    "FLEET_SYNC_GUARD__ALLOW_EMPTYING_FLEETS": "true",
}


def _want(workspace: conftest.Workspace, chance: random.Random) -> dict[str, list[str]]:
    """Move half of the drivers to another fleet each."""
    fleets = list(workspace.people.fleets)
    wanted: dict[str, list[str]] = {fleet: [] for fleet in fleets}
    for driver in workspace.people.drivers:
        there = sorted(workspace.people.fleets_of(driver))
        for fleet in [chance.choice(fleets)] if chance.random() < 0.5 else there:
            wanted[fleet].append(driver)
    workspace.write(wanted)
    return {fleet: sorted(drivers) for fleet, drivers in wanted.items()}


@pytest.mark.parametrize("seed", range(4))
def test_killed_while_writes_are_late_the_journal_agrees_after_the_horizon(
    open_workspace: conftest.Open, seed: int
) -> None:
    chance = random.Random(seed)
    behaves = quirks.Quirks(latency_seconds=0.02, late_seconds=(1, 30))
    late = faults.Faults({"late": 0.1, "late_504": 0.3}, seed=seed)
    workspace = open_workspace(behaves=behaves, goes_wrong=late)
    wanted = _want(workspace, chance)
    for _ in range(KILLS):
        with workspace.folder.started("once", **SETTINGS) as running:
            time.sleep(chance.uniform(0.8, 4))
            if running.process.poll() is None:
                running.process.kill()
            running.end()

    assert workspace.run("once", **SETTINGS).code in (0, 4)  # sends unclear writes again, and some are late again
    workspace.charge.faults = faults.NONE
    deadline = time.monotonic() + 3 * HORIZON_SECONDS
    while (ended := workspace.run("once", **SETTINGS)).code != 0 or workspace.charge.late_keys():
        assert time.monotonic() < deadline, ended
        time.sleep(5)
    assert workspace.members() == wanted
    effects = [effect for effect in workspace.people.effects if effect.changed]
    assert max(collections.Counter(effect.key for effect in effects).values()) == 1
    outcomes = dict(workspace.folder.journal("select key, outcome from intents"))
    assert {outcomes[effect.key] for effect in effects} == {"applied"}
    assert set(outcomes.values()) <= {"applied", "already", "deferred", "refused"}
    print(f"{KILLS} kills, {len(effects)} effects, {len(outcomes)} intents")  # noqa: T201
