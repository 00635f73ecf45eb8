"""Plays many worlds in several processes, each of them within a limit of real time.

Invariant: it ends, whatever a world does: one that does not end breaks a rule, and one whose process dies is an error.
Neighbours: `world` plays one, `__main__` is the command.
"""

import collections
import functools
import signal
from collections.abc import Callable, Iterator
from concurrent import futures

from tests.simulation import world

LONGEST_SECONDS = 60
"""Real seconds for one world; a world that takes longer does not end."""

Play = Callable[[int], world.Played]
"""Plays the world of a seed."""


class ProcessDied(Exception):
    """A process that played one of these worlds is dead. No other world is played."""


class _Endless(BaseException):
    """A world does not end."""


def play_all(seeds: range, play: Play, *, processes: int) -> Iterator[world.Played]:
    """Play the worlds of all seeds side by side, and yield each when it is played, in any order."""
    with futures.ProcessPoolExecutor(processes) as pool:
        worlds = {pool.submit(functools.partial(play_one, play=play), seed): seed for seed in seeds}
        try:
            for played in futures.as_completed(worlds):
                yield played.result()
        except futures.BrokenExecutor:
            missing = [seed for each, seed in worlds.items() if not each.done() or each.exception()]
            begun = ", ".join(map(str, missing[:processes]))  # worlds begin in the order of their seeds
            raise ProcessDied(f"a process died while it played one of these worlds: {begun}") from None
        finally:
            pool.shutdown(cancel_futures=True)


def play_one(seed: int, *, play: Play) -> world.Played:
    """Play the world of a seed; it breaks a rule if it does not end."""
    before = signal.signal(signal.SIGALRM, _give_up)
    # Once more every second: the first may come where it gets lost, as in a destructor.
    signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS, 1)
    try:
        return play(seed)
    except BaseException as error:
        if not _is_endless(error):
            raise
        return world.Played(seed, ["deadlock: the world does not end"], collections.Counter(), [], "")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _is_endless(error: BaseException) -> bool:
    """Return whether a world was given up, at whatever depth of its task groups."""
    return isinstance(error, _Endless) or (
        isinstance(error, BaseExceptionGroup) and error.subgroup(_Endless) is not None
    )


def _give_up(number: int, frame: object) -> None:
    raise _Endless
