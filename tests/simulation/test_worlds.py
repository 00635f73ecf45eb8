"""Fresh worlds: whatever goes wrong in them, no rule is broken. `make simulate` plays many more.

The seeds are new in every session. `FLEET_SYNC_TEST_SEED` sets the first one, to play a session's worlds again.
"""

import os
import subprocess
import sys
import uuid
import zlib

import pytest

from tests.simulation import world
from tests.support import laws

FORMER = (117788071, 117789494, 504323810, 504323911, 569678753)
"""Worlds that once broke a rule, by a fault of the program or of a judge."""

WORLDS = [*range(20), *(laws.slow(number) for number in range(20, 120))]


@pytest.fixture(scope="session")
def first_seed() -> int:
    """Return the first seed of this session, the same in all its workers."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    return int(os.environ.get("FLEET_SYNC_TEST_SEED") or zlib.crc32(session.encode()) % 1_000_000_000)


@pytest.mark.parametrize("number", WORLDS)
def test_a_world_in_which_no_rule_is_broken(first_seed: int, number: int) -> None:
    seed = first_seed + number
    played = world.play(seed)
    if played.violations:
        lines = world.play(seed, verbose=True).lines
        pytest.fail("\n".join((*lines[-200:], "", *played.violations, f"make simulate SEED={seed} shows all of it")))


@pytest.mark.parametrize("seed", FORMER)
def test_a_world_in_which_a_rule_was_once_broken(seed: int) -> None:
    assert world.play(seed).violations == []


def test_a_seed_replays_exactly_in_another_process() -> None:
    program = "from tests.simulation import world; print(*(world.play(seed).fingerprint for seed in range(5)))"
    one, another = (
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout.split()
        for hash_seed in ("0", "1")
    )
    assert one == another
    assert len(set(one)) == 5
