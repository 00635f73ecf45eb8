"""Plays an account that has to move every few seconds, while it has far more changes than its rate limit allows.

Whoever has the account is made to give it up, mostly by SIGTERM and sometimes by SIGKILL, and comes back as another
process: `python -m tests.storm.moved`. Invariant: Charge counts, not the program. Neighbours: `scenario` runs the
workers, `judge` judges, `test_moved` is the short form.
"""

import dataclasses
import pathlib
import random
import sys
import tempfile
import time

import click

from tests.journal import postgres
from tests.storm import charge, judge, nemesis, scenario, workers

NAME = "moved"


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """How large it is: every driver changes its fleet; the account moves so often, `stay` seconds after each other.

    Every `kill_every`th move is by SIGKILL; 0 is none.
    """

    drivers: int
    rate: float
    burst: int
    stay: float
    moves: int
    kill_every: int
    patience: float


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What it showed. `excess` is by how many requests the worst window exceeds the ceiling and the burst."""

    writes: judge.Writes
    arrivals: int
    wrong: dict[str, int]
    blows: list[nemesis.Blow]
    epochs: int
    during: int
    seconds: float
    excess: float
    settled_after: float
    codes: list[int]
    """The exit codes of the processes that were ended by SIGTERM."""


class Moved:
    """An account that moves, and the workers that it moves between."""

    def __init__(self, form: Form, folder: pathlib.Path, host: str) -> None:
        """Make the account, and the folder of the cluster."""
        self._form, self._folder, self._host = form, folder, host
        charge.make_folders(folder)
        self._account = charge.Account(NAME, folder, drivers=form.drivers, latency=0.0)
        self._charges = charge.Charges([self._account])

    def play(self) -> Verdict:
        """Play it to its end, and judge it."""
        form = self._form
        self._account.move(random.Random(1), form.drivers)
        settings = f"[rate_limit]\nrequests_per_second = {form.rate}\nburst = {form.burst}\n"
        started = scenario.running(self._folder, self._host, self._charges, interval=2.0, count=2, settings=settings)
        with started as cluster:
            cluster.wait(lambda: bool(self._charges.arrivals), patience=form.patience)
            before, began = len(self._charges.moments[NAME]), time.monotonic()
            blows = self._move(cluster)
            during, seconds = len(self._charges.moments[NAME]) - before, time.monotonic() - began
            settled = cluster.wait(lambda: not self._charges.wrong(), patience=form.patience)
            codes = [code for worker in cluster.workers for code in (*worker.codes, worker.end())]
            return Verdict(
                writes=judge.writes(self._charges.arrivals, cluster.database.origins()),
                arrivals=len(self._charges.arrivals),
                wrong=self._charges.wrong(),
                blows=blows,
                epochs=cluster.database.look(time.time()).owners[NAME].epoch,
                during=during,
                seconds=seconds,
                excess=judge.excess(self._charges.moments[NAME], rate=form.rate, burst=form.burst),
                settled_after=settled,
                codes=codes,
            )

    def _move(self, cluster: scenario.Cluster) -> list[nemesis.Blow]:
        """Make whoever has the account give it up, again and again."""
        form, blows = self._form, list[nemesis.Blow]()
        due = time.monotonic()
        for _ in range(form.moves):
            due = max(due, time.monotonic() - form.stay) + form.stay
            time.sleep(max(0.0, due - time.monotonic()))
            owner = self._owner(cluster)
            kills = form.kill_every and len(blows) % form.kill_every == form.kill_every - 1
            blows.append(nemesis.Blow.KILL if kills else nemesis.Blow.END)
            owner.suffer(nemesis.Event(0.0, owner.number, blows[-1], 0.0), time.sleep)
        return blows

    def _owner(self, cluster: scenario.Cluster) -> workers.Worker:
        """Wait until a worker has the account, and return it."""
        deadline = time.monotonic() + self._form.patience
        while time.monotonic() < deadline:
            name = cluster.database.look(time.time()).owners[NAME].worker
            for worker in cluster.workers:
                if judge.is_process(name, worker.pid):
                    return worker
            time.sleep(0.05)
        raise AssertionError("no worker takes the account")


@click.command()
@click.option("--moves", default=24, show_default=True, help="How often the account is moved.")
@click.option("--stay", default=5.0, show_default=True, help="Seconds between two moves.")
@click.option("--drivers", default=600, show_default=True, help="Drivers, all of which change their fleet.")
def main(moves: int, stay: float, drivers: int) -> None:
    """Move one account; exit with 0 if its limit was kept, no write was stale and no membership is wrong."""
    form = Form(drivers, rate=10.0, burst=10, stay=stay, moves=moves, kill_every=6, patience=600.0)
    with postgres.server() as host, tempfile.TemporaryDirectory() as folder:
        verdict = Moved(form, pathlib.Path(folder), host).play()
    sys.exit(0 if show(verdict, form) else 1)


def show(verdict: Verdict, form: Form) -> bool:
    """Print a verdict; return whether everything held that must."""
    kills = verdict.blows.count(nemesis.Blow.KILL)
    share = verdict.during / (form.rate * verdict.seconds)
    checks = [
        ("requests above the ceiling and the burst", f"{max(0.0, verdict.excess):.1f}", verdict.excess <= 0),
        ("stale writes", f"{len(verdict.writes.stale)} of {verdict.arrivals}", not verdict.writes.stale),
        ("writes that the journal does not know", str(len(verdict.writes.unknown)), not verdict.writes.unknown),
        ("wrong memberships", str(sum(verdict.wrong.values())), not verdict.wrong),
        ("epochs", f"{verdict.epochs} after {len(verdict.blows)} moves", verdict.epochs > len(verdict.blows)),
    ]
    for what, found, held in checks:
        click.echo(f"{'ok  ' if held else 'FAIL'} {what}: {found}")
    click.echo(f"     the fullest window had room for {-verdict.excess:.1f} more requests")
    click.echo(f"     {len(verdict.blows) - kills} by SIGTERM, {kills} by SIGKILL; exit codes {set(verdict.codes)}")
    click.echo(
        f"     requests: {verdict.during} in {verdict.seconds:.0f} s of moves, {share:.0%} of what the ceiling allows"
    )
    click.echo(f"     as wanted after: {verdict.settled_after:.1f} s; resent: {verdict.writes.unsure}")
    return all(held for _, _, held in checks)


if __name__ == "__main__":
    main()
