"""Many worlds: the command ends also where a world does not, or takes its process with it."""

import collections
import os
import signal
import subprocess
import sys

import trio

from tests.simulation import many_worlds, world

DEADLY = 7


def endless(seed: int) -> world.Played:
    """Be in the middle of a world when the time for it is over."""

    async def go_on() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            signal.raise_signal(signal.SIGALRM)

    trio.run(go_on)
    raise AssertionError(f"the time for world {seed} was not over")


def deadly(seed: int) -> world.Played:
    """Play a world that ends its process without a word."""
    if seed == DEADLY:
        os._exit(0)
    return harmless(seed)


def harmless(seed: int) -> world.Played:
    """Play a world in which nothing happens."""
    return world.Played(seed, [], collections.Counter(), [], "")


def test_every_world_is_played() -> None:
    assert _played_elsewhere("harmless") == "played 0 1 2 3 4 5 6 7 8 9"


def test_a_world_that_does_not_end_breaks_a_rule_wherever_its_time_is_over() -> None:
    before = signal.getsignal(signal.SIGALRM)
    assert many_worlds.play_one(3, play=endless).violations == ["deadlock: the world does not end"]
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_world_that_ends_its_process_ends_everything_with_an_error() -> None:
    said, _, seeds = _played_elsewhere("deadly").partition(": ")
    assert said == "a process died while it played one of these worlds"
    assert str(DEADLY) in seeds.split(", ")


def _played_elsewhere(play: str) -> str:
    """Play ten worlds in processes of a process of their own, and return what became of them."""
    program = (
        "from tests.simulation import many_worlds, test_many_worlds\n"
        "try:\n"
        f"    all = many_worlds.play_all(range(10), test_many_worlds.{play}, processes=2)\n"
        "    print('played', *sorted(played.seed for played in all))\n"
        "except many_worlds.ProcessDied as error:\n"
        "    print(error)\n"
    )
    command = (sys.executable, "-c", program)
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
