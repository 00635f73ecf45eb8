"""`python -m benchmarks [--short] [NAME…]`: measure, print ratios, and exit 1 if a benchmark misses its goal twice.

Invariant: benchmarks run one after the other, because each needs the machine to itself. Neighbours: each benchmark is a
module.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import click

from benchmarks import commands, growth, journal, large, rate_limit, results, tables, throughput
from worker import logs

Figures = Callable[..., Iterator[results.Figure]]

BENCHMARKS: Mapping[str, tuple[str, Figures]] = {
    "throughput": ("Throughput: 2,000 attaches by 32 workers, no limit", throughput.figures),
    "rate_limit": ("Rate limit", rate_limit.figures),
    "commands": ("Whole commands", commands.figures),
    "journal": ("Journal", journal.figures),
    "large": ("Large accounts", large.figures),
    "tables": ("Tables read by a mapping", tables.figures),
    "growth": ("Growth", growth.figures),
}


_DEFAULT = [name for name in BENCHMARKS if name != "growth"]
_LONGEST_FIGURE = 180.0
"""Seconds that a single figure may take: the million drivers."""


@click.command()
@click.option("--short", is_flag=True, help="Use fewer rounds and smaller numbers.")
@click.option("--minutes", type=float, default=float("inf"), help="End within so many minutes.")
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
def main(short: bool, minutes: float, names: tuple[str, ...]) -> None:
    """Measure what fleet-sync costs, against a peer in the same run."""
    logs.configure(form="json", level="warning")
    click.echo(f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}, loopback")
    last_start = time.monotonic() + 60 * minutes - _LONGEST_FIGURE
    reached = [_reached(name, short=short, last_start=last_start) for name in names or _DEFAULT]
    sys.exit(0 if all(reached) else 1)


def _reached(name: str, *, short: bool, last_start: float) -> bool:
    """Show a benchmark and return whether it reached every goal.

    A miss is measured once more: other programs may have used the machine. No figure is begun after `last_start`.
    """
    title, figures = BENCHMARKS[name]
    reached = True
    for again in ("", ", measured again"):
        click.echo(f"\n{title}{again}")
        reached, measured, before = True, figures(short=short), reached
        while time.monotonic() <= last_start:
            if (figure := next(measured, None)) is None:
                break
            click.echo(str(figure))
            reached &= figure.holds
        else:
            click.echo("  not measured for want of time: the rest of these")
            return reached and before
        if reached:
            return True
    return False


if __name__ == "__main__":
    main()
