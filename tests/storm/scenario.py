"""Plays a storm: accounts whose documents change, workers that share them, and the nemesis.

Invariant: the verdict comes from what Charge saw, from the database and from the documents; it depends on the machine
in nothing but the times that it measures. Neighbours: `judge` judges, `__main__` prints.
"""

import concurrent.futures
import contextlib
import dataclasses
import math
import pathlib
import random
import threading
import time
from collections.abc import Callable, Iterator

from tests.storm import charge, database, judge, nemesis, workers
from tests.support import served

DEFAULTS = """\
[secrets]
path = "keys/{{account}}"
[cluster]
url = "{database}"
[charge]
base_url = "{url}"
[sync]
interval_seconds = {interval}
[rate_limit]
requests_per_second = 500
burst = 50
concurrency = 2
[retry]
base_seconds = 0.05
max_seconds = 0.5
late_effect_seconds = 5
[guard]
max_detach_fraction = 1
max_detach_fraction_per_fleet = 1
allow_emptying_fleets = true
"""

TICK_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """How large a storm is. `moves` drivers of an account change their fleet at once, `changes` times an interval."""

    accounts: int
    interval: float
    drivers: int
    latency: float
    moves: int
    changes: float
    storm: nemesis.Storm
    seed: int
    patience: float
    """Seconds after the storm in which everything must become as it is wanted."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a storm showed."""

    writes: judge.Writes
    arrivals: int
    requests: int
    runs: int
    wrong: dict[str, int]
    settled_after: float
    take_overs: list[float]
    gaps: dict[str, float]
    lags: list[float]
    sessions: int
    usage: list[workers.Usage]
    seconds: float
    codes: list[int]
    """The exit codes of the workers, which were ended by SIGTERM."""


@dataclasses.dataclass(frozen=True, slots=True)
class Course:
    """When a storm began and ended, how long everything took to settle, and how the workers were and ended."""

    began: float
    ended: float
    settled: float
    usage: list[workers.Usage]
    codes: list[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that runs: its database and its workers."""

    database: database.Database
    workers: list[workers.Worker]

    def until_all_ran(self, accounts: int, *, patience: float) -> float:
        """Wait until each account had a run, and return when."""
        deadline = time.time() + patience
        while len(self.database.starts()) < accounts:
            assert time.time() < deadline, f"only {len(self.database.starts())} accounts had a run"
            time.sleep(TICK_SECONDS)
        return time.time()

    def wait(self, happened: Callable[[], bool], *, patience: float) -> float:
        """Wait until something happened, and return how long that took; infinity if it took too long."""
        began = time.monotonic()
        while time.monotonic() - began < patience:
            for worker in self.workers:
                worker.check()
            if happened():
                return time.monotonic() - began
            time.sleep(TICK_SECONDS)
        return math.inf


@contextlib.contextmanager
def running(
    folder: pathlib.Path, host: str, charges: charge.Charges, *, interval: float, count: int, settings: str = ""
) -> Iterator[Cluster]:
    """Run so many workers on these accounts for the duration of the block; `settings` are those of every account."""
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(database.opened(host))
        found.clear()
        url = stack.enter_context(served.over_http(charges))
        (folder / "_defaults.toml").write_text(DEFAULTS.format(database=found.url, url=url, interval=interval))
        found.add((name, charge.SETTINGS.format(name=name) + settings) for name in charges.accounts)
        yield Cluster(found, stack.enter_context(workers.started(count, folder)))


class Scenario:
    """A storm that is under way."""

    def __init__(self, form: Form, folder: pathlib.Path, host: str) -> None:
        """Make the accounts, and the folder of the cluster."""
        self._form = form
        self._folder = folder
        charge.make_folders(folder)
        names = [f"a{number:05}" for number in range(form.accounts)]
        self.charges = charge.Charges(
            charge.Account(name, folder, drivers=form.drivers, latency=form.latency) for name in names
        )
        self._host = host
        self._looks: list[database.Look] = []
        self._sessions = 0
        self._over = threading.Event()

    def play(self) -> Verdict:
        """Play the storm to its end, and judge it."""
        form = self._form
        with contextlib.ExitStack() as stack:
            cluster = stack.enter_context(
                running(self._folder, self._host, self.charges, interval=form.interval, count=form.storm.workers)
            )
            began = cluster.until_all_ran(form.accounts, patience=form.interval + form.patience)
            stack.enter_context(self._watching())
            with self._moving():
                self._rage(cluster.workers)
            settled = cluster.wait(lambda: not self.charges.wrong(), patience=form.patience + 2 * form.interval)
            ended = time.time()
            usage = [worker.usage() for worker in cluster.workers]
            self._over.set()
            codes = [worker.end() for worker in cluster.workers]
            return self._judged(cluster, Course(began, ended, settled, usage, codes))

    def _rage(self, running: list[workers.Worker]) -> None:
        """Stop and kill workers as planned."""
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(max_workers=len(running)) as pool:
            suffering = []
            for event in nemesis.plan(self._form.storm, seed=self._form.seed):
                time.sleep(max(0.0, began + event.at - time.monotonic()))
                suffering.append(pool.submit(running[event.worker].suffer, event, time.sleep))
            for each in suffering:
                each.result()
        time.sleep(max(0.0, began + self._form.storm.seconds - time.monotonic()))

    @contextlib.contextmanager
    def _moving(self) -> Iterator[None]:
        """Change documents for the duration of the block."""
        form, over = self._form, threading.Event()
        rng = random.Random(form.seed + 1)
        pause = form.interval / (form.changes * form.accounts)
        names = sorted(self.charges.accounts)

        def move() -> None:
            due = time.monotonic()
            while not over.wait(max(0.0, due - time.monotonic())):
                self.charges.accounts[rng.choice(names)].move(rng, form.moves)
                due += pause

        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
            moving = pool.submit(move)
            try:
                yield
            finally:
                over.set()
            moving.result()

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Read the table of accounts again and again for the duration of the block."""

        def watch() -> None:
            with database.opened(self._host) as own:
                while not self._over.wait(TICK_SECONDS):
                    self._looks.append(own.look(time.time()))
                    self._sessions = max(self._sessions, own.sessions())

        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
            watching = pool.submit(watch)
            try:
                yield
            finally:
                self._over.set()
            watching.result()

    def _judged(self, cluster: Cluster, course: Course) -> Verdict:
        starts = cluster.database.starts()
        looks = [(look.at, look.owners) for look in self._looks]
        owners = {owner.worker for _, look in looks for owner in look.values()}
        away = [
            (begin, end, name)
            for worker in cluster.workers
            for begin, end, pid in worker.away
            for name in owners
            if judge.is_process(name, pid)
        ]
        return Verdict(
            writes=judge.writes(self.charges.arrivals, cluster.database.origins()),
            arrivals=len(self.charges.arrivals),
            requests=self.charges.requests,
            runs=sum(map(len, starts.values())),
            wrong=self.charges.wrong(),
            settled_after=course.settled,
            take_overs=judge.take_overs(away, looks, least=STALL_SECONDS),
            gaps={
                name: judge.longest_gap(starts.get(name, ()), begin=course.began, end=course.ended)
                for name in self.charges.accounts
            },
            lags=judge.lags([look.due for look in self._looks], starts),
            sessions=self._sessions,
            usage=course.usage,
            seconds=course.ended - course.began,
            codes=course.codes,
        )


STALL_SECONDS = 5.0
"""Absences that are shorter need no take-over: the default of `cluster.stall_seconds`."""
