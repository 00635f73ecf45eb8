"""Plays an outage of Charge: every request is answered with 503 for a while, and then all accounts want to catch up.

`python -m tests.storm.outage` plays three minutes with 300 accounts. Invariant: Charge counts, not the program.
Neighbours: `scenario` runs the workers, `judge` judges, `test_outage` is the short form.
"""

import dataclasses
import itertools
import math
import pathlib
import sys
import tempfile
import time

import click

from tests.journal import postgres
from tests.storm import charge, judge, scenario

RATE, BURST = 25.0, 20
SETTINGS = (
    f"[rate_limit]\nrequests_per_second = {RATE}\nburst = {BURST}\n[retry]\nbase_seconds = 0.5\nmax_seconds = 30\n"
)
"""Rate and retries are those of an account without settings."""


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """How large it is: so many accounts, each run at an interval, and an outage of so many seconds."""

    accounts: int
    interval: float
    outage: float
    patience: float


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What it showed. `caught_up` has when each account had succeeded, in seconds from the end of the outage.

    `runs` are the successful runs of each account within an interval from then; `excess` is by how many requests any
    account exceeded its limit. `start`, `before`, `during` and `after` are the most requests of all accounts within a
    second: while all were due at once because the workers began, and before, during and after the outage.
    """

    caught_up: dict[str, float]
    runs: dict[str, int]
    excess: float
    wrong: dict[str, int]
    start: int
    before: int
    during: int
    after: int
    requests: int
    """Of an interval after the outage."""


class Outage:
    """Accounts whose Charge is away for a while."""

    def __init__(self, form: Form, folder: pathlib.Path, host: str) -> None:
        """Make the accounts, and the folder of the cluster."""
        self._form, self._folder, self._host = form, folder, host
        charge.make_folders(folder)
        names = [f"a{number:05}" for number in range(form.accounts)]
        self._charges = charge.Charges(charge.Account(name, folder, drivers=12, latency=0.05) for name in names)

    def play(self) -> Verdict:
        """Play it to its end, and judge it."""
        form = self._form
        started = scenario.running(
            self._folder, self._host, self._charges, interval=form.interval, count=2, settings=SETTINGS
        )
        with started as cluster:
            settled = cluster.until_all_ran(form.accounts, patience=form.patience)
            time.sleep(form.interval)
            self._charges.down, began = True, time.time()
            time.sleep(form.outage)
            self._charges.down, healed = False, time.time()
            cluster.wait(lambda: not self._missing(cluster, healed), patience=form.patience)
            time.sleep(max(0.0, healed + form.interval - time.time()))
            return self._judged(cluster, settled, began, healed)

    def _missing(self, cluster: scenario.Cluster, healed: float) -> list[str]:
        successes = cluster.database.successes()
        return [name for name in self._charges.accounts if max(successes.get(name, [0.0])) < healed]

    def _judged(self, cluster: scenario.Cluster, settled: float, began: float, healed: float) -> Verdict:
        successes, end = cluster.database.successes(), healed + self._form.interval
        since = {
            name: sorted(at - healed for at in successes.get(name, ()) if at >= healed)
            for name in self._charges.accounts
        }
        moments = sorted(itertools.chain.from_iterable(self._charges.moments.values()))
        return Verdict(
            caught_up={name: min(found, default=math.inf) for name, found in since.items()},
            runs={name: sum(at <= self._form.interval for at in found) for name, found in since.items()},
            excess=max(judge.excess(own, rate=RATE, burst=BURST) for own in self._charges.moments.values()),
            wrong=self._charges.wrong(),
            start=judge.most_within([at for at in moments if at < settled], 1.0),
            before=judge.most_within([at for at in moments if settled <= at < began], 1.0),
            during=judge.most_within([at for at in moments if began <= at < healed], 1.0),
            after=judge.most_within([at for at in moments if healed <= at < end], 1.0),
            requests=sum(healed <= at < end for at in moments),
        )


@click.command()
@click.option("--accounts", default=300, show_default=True, help="Number of accounts.")
@click.option("--interval", default=60.0, show_default=True, help="Seconds between two runs of an account.")
@click.option("--seconds", default=180.0, show_default=True, help="How long the outage lasts.")
def main(accounts: int, interval: float, seconds: float) -> None:
    """Play an outage; exit with 0 if every account caught up within an interval, and none in a stampede."""
    form = Form(accounts, interval, seconds, patience=600.0)
    with postgres.server() as host, tempfile.TemporaryDirectory() as folder:
        verdict = Outage(form, pathlib.Path(folder), host).play()
    sys.exit(0 if show(verdict, form) else 1)


def show(verdict: Verdict, form: Form) -> bool:
    """Print a verdict; return whether everything held that must."""
    slowest, runs = max(verdict.caught_up.values()), sorted(verdict.runs.values())
    checks = [
        ("last account that succeeded", f"{slowest:.1f} s after the outage", slowest <= form.interval),
        ("successful runs of an account within an interval", f"{runs[0]} to {runs[-1]}", runs[0] >= 1),
        ("requests above an account's ceiling and burst", f"{max(0.0, verdict.excess):.1f}", verdict.excess <= 0),
        ("most requests a second after the outage", f"{verdict.after} of {verdict.requests}", is_no_stampede(verdict)),
        ("wrong memberships", str(sum(verdict.wrong.values())), not verdict.wrong),
    ]
    for what, found, held in checks:
        click.echo(f"{'ok  ' if held else 'FAIL'} {what}: {found}")
    click.echo(f"     and at the start, before and during it: {verdict.start}, {verdict.before}, {verdict.during}")
    times = [f"{judge.quantile(list(verdict.caught_up.values()), q):.1f} s" for q in (0.05, 0.5, 0.95)]
    click.echo(f"     accounts caught up, p5, p50, p95: {', '.join(times)}")
    return all(held for _, _, held in checks)


def is_no_stampede(verdict: Verdict) -> bool:
    """Return whether the accounts caught up no faster than twice as fast as they begin when the workers start."""
    return verdict.after <= 2 * verdict.start


if __name__ == "__main__":
    main()
