"""`make simulate`: plays many worlds with fresh seeds and summarizes them; with `--seed`, traces a single one.

Invariant: exits with 1 if a rule was broken, after the trace of the first such world and the command to replay it.
Neighbours: `many_worlds` plays them.
"""

import argparse
import collections
import functools
import itertools
import os
import random
import sys
import time
from collections.abc import Iterable

from tests.journal import postgres
from tests.simulation import many_worlds, world

_SEEDS = 1_000_000_000

_SHOWN_LINES = 400


def main() -> int:
    """Read the command line, play the worlds, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--worlds", type=int, default=2000, help="how many worlds to play")
    parser.add_argument("--first", type=int, help="the seed of the first world [default: random]")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="play only this world, and show its trace")
    options = parser.parse_args()
    with postgres.server() as server:
        return _replay(options.seed, server) if options.seed is not None else _play_all(options, server)


def _play_all(options: argparse.Namespace, server: str) -> int:
    began = time.monotonic()
    first = random.SystemRandom().randrange(_SEEDS) if options.first is None else options.first
    seeds = range(first, first + options.worlds)
    _say(f"seeds {seeds.start} to {seeds.stop - 1} (--first {seeds.start} plays them again)")
    play = functools.partial(world.play, postgres=server)
    try:
        played = list(_counted(many_worlds.play_all(seeds, play, processes=options.processes), len(seeds)))
    except many_worlds.ProcessDied as error:
        _say(str(error))
        return 1
    _sum_up(played, time.monotonic() - began)
    broken = sorted((each for each in played if each.violations), key=lambda each: each.seed)
    for each in broken[:20]:
        _say(f"\nworld {each.seed}: make simulate SEED={each.seed}", *(f"  {line}" for line in each.violations[:5]))
    if broken:
        _say("\nThe first of them, from its end:")
        return _replay(broken[0].seed, server)
    return 0


def _replay(seed: int, server: str) -> int:
    played = many_worlds.play_one(seed, play=functools.partial(world.play, postgres=server, verbose=True))
    _say(*played.lines[-_SHOWN_LINES:])
    if len(played.lines) > _SHOWN_LINES:
        _say(f"({len(played.lines) - _SHOWN_LINES} lines before that are not shown)")
    _say(f"\nworld {seed}, fingerprint {played.fingerprint}: {len(played.violations)} violations", *played.violations)
    return 1 if played.violations else 0


def _counted(played: Iterable[world.Played], total: int) -> Iterable[world.Played]:
    for count, each in zip(itertools.count(1), played):
        if sys.stderr.isatty() or count % 500 == 0:
            print(f"\r{count} of {total} worlds", end="" if sys.stderr.isatty() else "\n", file=sys.stderr)  # noqa: T201
        yield each


def _sum_up(played: list[world.Played], seconds: float) -> None:
    counts = sum((each.counts for each in played), collections.Counter[str]())
    of = {kind: _named(counts, kind) for kind in ("fault ", "incident ", "report ", "outcome ", "hold ")}
    _say(
        f"{len(played)} worlds in {seconds:.0f} s ({len(played) / seconds:.1f} a second)",
        *(
            f"  {counts[name]:>9,} {name}"
            for name in (
                "processes",
                "crashes",
                "runs",
                "saved plans",
                "requests",
                "writes",
                "changes around our requests",
                "journals in SQLite",
                "journals in PostgreSQL",
            )
        ),
        f"  {counts['intents settled by a later reading']:>9,} intents settled by a later reading",
        f"  {sum(of['fault '].values()):>9,} faults of {len(of['fault '])} kinds: {_listed(of['fault '])}",
        f"  {sum(of['incident '].values()):>9,} incidents: {_listed(of['incident '])}",
        f"  {sum(of['report '].values()):>9,} reports: {_listed(of['report '])}",
        f"  {sum(of['outcome '].values()):>9,} outcomes: {_listed(of['outcome '])}",
        f"  {sum(of['hold '].values()):>9,} plans held by a guard: {_listed(of['hold '])}",
        f"  {sum(bool(each.violations) for each in played):>9,} worlds in which a rule was broken",
    )


def _named(counts: collections.Counter[str], kind: str) -> dict[str, int]:
    return {name.removeprefix(kind): count for name, count in sorted(counts.items()) if name.startswith(kind)}


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
