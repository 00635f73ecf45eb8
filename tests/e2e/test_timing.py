"""How long an operator waits for a command that has nothing to do, against what its libraries take to load."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import roster

ROUNDS = 7


def _libraries() -> None:
    program = "import httpx, anyio, tenacity, structlog"
    subprocess.run([sys.executable, "-c", program], env=command.environment(), check=True)


def _medians(*calls: Callable[[], object]) -> list[float]:
    """Time the calls in turn, so that whatever else the machine does meets all of them; give the median of each."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, seconds, strict=True):
            begun = time.perf_counter()
            call()
            taken.append(time.perf_counter() - begun)
    return [statistics.median(taken) for taken in seconds]


@pytest.mark.timing
def test_help_is_there_before_the_libraries_would_be() -> None:
    helped, libraries = _medians(lambda: command.run("--help"), _libraries)
    assert helped < libraries


@pytest.mark.timing
def test_once_with_nothing_to_do_takes_less_than_three_times_as_long(open_desk: conftest.Open) -> None:
    desk = open_desk(roster.Roster.populate(drivers=300, fleets=12))
    once, libraries = _medians(lambda: desk.run("once"), _libraries)
    assert desk.posts() == []
    assert once < 3 * libraries
