"""`python -m benchmarks [--short] [NAME…]`: measure, print ratios, and exit 1 if a benchmark misses its goal twice.

Invariant: benchmarks run one after the other, because each needs the machine to itself. Neighbours: each benchmark is a
module.
"""

import os
import platform
import sys
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


@click.command()
@click.option("--short", is_flag=True, help="Use fewer rounds and smaller numbers.")
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
def main(short: bool, names: tuple[str, ...]) -> None:
    """Measure what fleet-sync costs, against a peer in the same run."""
    logs.configure(form="json", level="warning")
    click.echo(f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}, loopback")
    reached = [_reached(name, short=short) for name in names or BENCHMARKS]
    sys.exit(0 if all(reached) else 1)


def _reached(name: str, *, short: bool) -> bool:
    """Show a benchmark and return whether it reached every goal.

    A miss is measured once more: other programs may have used the machine.
    """
    title, figures = BENCHMARKS[name]
    for again in ("", ", measured again"):
        click.echo(f"\n{title}{again}")
        missed = 0
        for figure in figures(short=short):
            click.echo(str(figure))
            missed += not figure.holds
        if not missed:
            return True
    return False


if __name__ == "__main__":
    main()
