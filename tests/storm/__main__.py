"""Plays one storm and prints what it showed: `python -m tests.storm [--accounts N] [--seconds N] [--seed N] …`.

Invariant: the exit code is 0 if and only if everything held that must. Neighbours: `scenario` plays, `test_storm` is
the short form.
"""

import math
import pathlib
import secrets
import sys
import tempfile

import click

from tests.journal import postgres
from tests.storm import judge, nemesis, scenario

TAKE_OVER_P95 = 15.0
TAKE_OVER_MAX = 30.0
"""Seconds within which another worker has what a lost one had."""


@click.command()
@click.option("--accounts", default=1000, show_default=True, help="Number of accounts.")
@click.option("--interval", default=60.0, show_default=True, help="Seconds between two runs of an account.")
@click.option("--seconds", default=600.0, show_default=True, help="How long the storm lasts.")
@click.option("--workers", default=4, show_default=True, help="Number of workers.")
@click.option("--stops", default=-1, help="SIGSTOPs [default: one in 20 s].")
@click.option("--kills", default=-1, help="SIGKILLs [default: one in 40 s].")
@click.option("--shortest-stop", default=1.0, show_default=True, help="Seconds that a stop takes at least.")
@click.option("--longest-stop", default=14.0, show_default=True, help="Seconds that a stop takes at most.")
@click.option("--changes", default=1.0, show_default=True, help="Changed documents an account and interval.")
@click.option("--drivers", default=12, show_default=True, help="Drivers of an account.")
@click.option("--latency", default=0.1, show_default=True, help="Seconds that Charge takes for a request.")
@click.option("--seed", type=int, help="Chance [default: new every time].")
@click.option("--folder", type=click.Path(path_type=pathlib.Path), help="Where logs stay [default: nowhere].")
def main(
    accounts: int,
    interval: float,
    seconds: float,
    workers: int,
    stops: int,
    kills: int,
    shortest_stop: float,
    longest_stop: float,
    changes: float,
    drivers: int,
    latency: float,
    seed: int | None,
    folder: pathlib.Path | None,
) -> None:
    """Play one storm."""
    form = scenario.Form(
        accounts=accounts,
        interval=interval,
        drivers=drivers,
        latency=latency,
        moves=max(1, drivers // 2),
        changes=changes,
        storm=nemesis.Storm(
            seconds=seconds,
            workers=workers,
            stops=round(seconds / 20) if stops < 0 else stops,
            kills=round(seconds / 40) if kills < 0 else kills,
            shortest_stop=shortest_stop,
            longest_stop=longest_stop,
        ),
        seed=secrets.randbelow(10**6) if seed is None else seed,
        patience=120.0,
    )
    click.echo(f"{accounts} accounts every {interval:g} s, {workers} workers, seed {form.seed}")
    with postgres.server() as host, tempfile.TemporaryDirectory() as own:
        place = folder or pathlib.Path(own)
        place.mkdir(parents=True, exist_ok=True)
        verdict = scenario.Scenario(form, place, host).play()
    sys.exit(0 if show(verdict, form) else 1)


def show(verdict: scenario.Verdict, form: scenario.Form) -> bool:
    """Print a verdict; return whether everything held that must."""
    gap = max(verdict.gaps.values(), default=0.0)
    p95, most = judge.quantile(verdict.take_overs, 0.95), max(verdict.take_overs, default=0.0)
    checks = [
        ("stale writes", f"{len(verdict.writes.stale)} of {verdict.arrivals}", not verdict.writes.stale),
        ("writes that the journal does not know", str(len(verdict.writes.unknown)), not verdict.writes.unknown),
        ("wrong memberships", str(sum(verdict.wrong.values())), not verdict.wrong),
        ("take-over p95", f"{p95:.1f} s of {len(verdict.take_overs)}", p95 <= TAKE_OVER_P95),
        ("take-over max", f"{most:.1f} s", most <= TAKE_OVER_MAX),
        ("longest time without a run", f"{gap:.1f} s", gap <= 2 * form.interval),
    ]
    for what, found, held in checks:
        click.echo(f"{'ok  ' if held else 'FAIL'} {what}: {found}")
    for stale in verdict.writes.stale[:20]:
        click.echo(f"     {stale.arrival}: epoch {stale.epoch} after {stale.seen}")
    click.echo(f"     resent, so that their epoch is not sure: {verdict.writes.unsure}")
    click.echo(
        f"     as wanted after: {'never' if math.isinf(verdict.settled_after) else f'{verdict.settled_after:.1f} s'}"
    )
    click.echo(f"     requests a second: {verdict.requests / verdict.seconds:.0f}; sessions: {verdict.sessions}")
    click.echo(f"     runs: {verdict.runs}, {verdict.runs / verdict.seconds:.1f} a second")
    click.echo(
        f"     lag p50, p95, max: {', '.join(f'{judge.quantile(verdict.lags, q):.2f} s' for q in (0.5, 0.95, 1.0))}"
    )
    for usage in verdict.usage:
        click.echo(f"     worker: {usage.cpu:.1f} s of CPU, {usage.memory:.0f} MiB")
    return all(held for _, _, held in checks)


if __name__ == "__main__":
    main()
