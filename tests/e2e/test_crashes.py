"""SIGKILL at any moment of an apply, checked at the server and in the journal, on SQLite and on PostgreSQL.

`FLEET_SYNC_TEST_KILLS` is the number of killed processes for each: 8 in CI, 200 by `make kills`.
"""

import collections
import contextlib
import os
import pathlib
import random
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any
from urllib import parse as urls

import anyio
import psycopg
import pytest

from tests.e2e import conftest
from tests.journal import postgres
from tests.support import command
from worker.sandbox import http_types, quirks

KILLS = int(os.environ.get("FLEET_SYNC_TEST_KILLS", "8"))
SEED = 3
LATENCY = 0.02
READS = 8
"""About as many requests as a run makes before its first write, and again after its last."""

NOTHING_HELD = {
    "FLEET_SYNC_GUARD__MAX_DETACH_FRACTION": "1",
    "FLEET_SYNC_GUARD__MAX_DETACH_FRACTION_PER_FLEET": "1",
    "FLEET_SYNC_GUARD__ALLOW_EMPTYING_FLEETS": "true",
}

Write = tuple[str, str, str]


class SqliteRecords:
    """Reads the journal of a workspace directly, in its default file."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Take the folder of the workspace."""
        self.environ: dict[str, str] = {}
        self._path = folder / "fleet-sync.db"

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none as long as the journal is missing or empty."""
        if not self._path.exists():
            return []
        with contextlib.closing(sqlite3.connect(self._path)) as database, contextlib.suppress(sqlite3.OperationalError):
            return database.execute(query).fetchall()
        return []


class PostgresRecords:
    """Reads the journal of a workspace directly, in a PostgreSQL server of its own."""

    def __init__(self, host: str) -> None:
        """Take the folder of the server's socket."""
        self.environ = {"FLEET_SYNC_JOURNAL__URL": f"postgresql://postgres@/postgres?host={urls.quote(host)}"}
        self._host = host

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none as long as the journal is empty."""
        with (
            psycopg.connect(host=self._host, user="postgres", dbname="postgres") as database,
            contextlib.suppress(psycopg.errors.UndefinedTable),
        ):
            return database.execute(query.encode()).fetchall()
        return []


Records = SqliteRecords | PostgresRecords


@pytest.fixture(params=["sqlite", "postgresql"])
def records(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Records]:
    """Return the records of the journal in each database."""
    if request.param == "sqlite":
        yield SqliteRecords(tmp_path)
    else:
        with postgres.server() as host:
            yield PostgresRecords(host)


class Reaper:
    """Wraps the sandbox: kills a command during one of its requests and checks the journal at each write.

    `unrecorded` are the keys of writes that arrived before their intent was on disk.
    """

    def __init__(self, records: Records) -> None:
        """Start without a command to kill."""
        self.under_way = 0
        self.unrecorded: list[str] = []
        self._records = records
        self._victim: command.Running | None = None
        self._number, self._moment, self._delay = 0, "", 0.0
        self._arrived = 0

    def aim(self, victim: command.Running, *, number: int, moment: str, delay: float) -> None:
        """Kill this command at the given request, counted from 1, `before` its effect or `after` its answer."""
        self._victim, self._arrived = victim, 0
        self._number, self._moment, self._delay = number, moment, delay

    def around(self, inner: http_types.App) -> http_types.App:
        """Return the wrapped sandbox."""

        async def answer(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
            self._arrived += 1
            mine = self._arrived == self._number
            self.under_way += 1
            try:
                if scope["method"] == "POST":
                    self._look_up(dict(scope["headers"])[b"idempotency-key"].decode())
                if mine and self._moment == "before":
                    await self._kill()
                await inner(scope, receive, send)
                if mine and self._moment == "after":
                    await self._kill()
            finally:
                self.under_way -= 1

        return answer

    async def _kill(self) -> None:
        await anyio.sleep(self._delay)
        if self._victim is not None and self._victim.process.poll() is None:
            self._victim.signal(signal.SIGKILL)

    def _look_up(self, key: str) -> None:
        if not self._records.ask(f"select 1 from intents where key = '{key}'"):  # noqa: S608 - a key of ours
            self.unrecorded.append(key)


class Crashes:
    """A workspace in which commands are killed. The seed decides everything random."""

    def __init__(self, open_workspace: conftest.Open, records: Records) -> None:
        """Return a workspace with 40 drivers in 4 fleets and a slow server."""
        self.records = records
        # Every write has landed before the next run starts, so an unclear one need not be waited for.
        landed = {"FLEET_SYNC_RETRY__LATE_EFFECT_SECONDS": "0"}
        self.environ = {**NOTHING_HELD, **landed, **records.environ}
        self.reaper = Reaper(records)
        self.workspace = open_workspace(behaves=quirks.Quirks(latency_seconds=LATENCY), around=self.reaper.around)
        self.workspace.folder.let_sources_shrink()
        self.chance = random.Random(SEED)
        self.killed: list[str] = []
        self.kills = 0

    def want_something_else(self) -> dict[str, list[str]]:
        """Move about half of the drivers: attaches, detaches, and both at once."""
        wanted: dict[str, list[str]] = {fleet: [] for fleet in self.workspace.people.fleets}
        for driver in self.workspace.people.drivers:
            fleets = sorted(self.workspace.people.fleets_of(driver))
            if self.chance.random() < 0.5:
                fleets = self.chance.sample(sorted(wanted), self.chance.choice((0, 1, 1, 2)))
            for fleet in fleets:
                wanted[fleet].append(driver)
        self.workspace.write(wanted)
        return {fleet: sorted(drivers) for fleet, drivers in wanted.items()}

    def kill(self, wanted: dict[str, list[str]]) -> None:
        """Start a run and kill it at a random request, then wait until the server has finished its requests."""
        before = {run for (run,) in self._runs()}
        missing = {(f, d) for f, drivers in wanted.items() for d in drivers}
        missing ^= {(f, d) for f, drivers in self.workspace.members().items() for d in drivers}
        with self.workspace.folder.started("once", **self.environ) as running:
            self.reaper.aim(
                running,
                number=self.chance.randint(1, READS + len(missing)),
                moment=self.chance.choice(("before", "after")),
                delay=self.chance.choice((0.0, self.chance.uniform(0, LATENCY), self.chance.uniform(0, 0.08))),
            )
            ended = running.end()
        assert ended.code in (0, 137), ended
        self.kills += ended.code == 137
        command.until(lambda: self.reaper.under_way == 0, what="an idle server")
        self.killed += [run for (run,) in self._runs() if run not in before]

    def recover(self) -> str:
        """Run again and return the result."""
        self.reaper.aim(None, number=0, moment="", delay=0)  # type: ignore[arg-type]
        ended = self.workspace.run("once", "--json", **self.environ)
        assert ended.code == 0, ended
        result: str = ended.document["result"]
        return result

    def effects(self) -> list[tuple[Write, str | None]]:
        """Return every write that changed something, with its key."""
        return [((e.action, e.driver, e.fleet), e.key) for e in self.workspace.people.effects if e.changed]

    def intents(self) -> dict[str, tuple[Write, str | None]]:
        """Return the intents in the journal with their outcomes."""
        rows = self.records.ask("select key, action, driver, fleet, outcome from intents")
        return {key: ((action, driver, fleet), outcome) for key, action, driver, fleet, outcome in rows}

    def shown(self, runs: Sequence[str]) -> list[dict[str, Any]]:
        """Return the output of `show` for these runs, running two at a time."""
        documents = []
        for first in range(0, len(runs), 2):
            calls = [["show", run, "--json"] for run in runs[first : first + 2]]
            documents += [ended.document for ended in self.workspace.together(*calls, **self.environ)]
        return documents

    def _runs(self) -> list[tuple[str]]:
        """Return every run."""
        return self.records.ask("select run from runs")


def test_killed_at_any_moment_nothing_is_lost_and_nothing_happens_twice(
    open_workspace: conftest.Open, records: Records
) -> None:
    crashes = Crashes(open_workspace, records)
    assert crashes.recover() == "in_sync"
    number = 0
    while crashes.kills < KILLS:
        number += 1
        wanted = crashes.want_something_else()
        before = len(crashes.effects())
        for _ in range(crashes.chance.choice((1, 1, 2, 2, 3))):
            crashes.kill(wanted)
        assert crashes.recover() in ("converged", "in_sync"), number
        assert crashes.workspace.members() == wanted, number
        twice = [
            write for write, count in collections.Counter(w for w, _ in crashes.effects()[before:]).items() if count > 1
        ]
        assert twice == [], number

    # Each write has its own key, its intent was on disk before it was sent, and the journal has its outcome.
    assert crashes.reaper.unrecorded == []
    effects, intents = crashes.effects(), crashes.intents()
    assert len({key for _, key in effects}) == len(effects)
    assert [intents.get(str(key)) for _, key in effects] == [(write, "applied") for write, _ in effects]
    assert None not in {outcome for _, outcome in intents.values()}
    writes = collections.defaultdict(set)
    for effect in crashes.workspace.people.effects:
        writes[effect.key].add((effect.action, effect.driver, effect.fleet))
    assert {len(each) for each in writes.values()} == {1}

    # Operators see the same.
    history = crashes.workspace.run("history", "--json", "--limit", "10000", **crashes.environ).document["runs"]
    assert sum(outcome == "applied" for _, outcome in intents.values()) == len(effects)
    (resent,) = crashes.records.ask("select count(*) from intents where resent = 1")[0]
    applied = sum(run["outcomes"]["applied"] for run in history)
    # A write that was sent again belongs to the run that recorded it, and is in the report of the run that sent it too.
    assert len(effects) <= applied <= len(effects) + resent
    looked_at = crashes.chance.sample(crashes.killed, min(len(crashes.killed), max(4, KILLS - 8)))
    for shown in crashes.shown(looked_at):
        for change in shown["changes"]:
            write = (change["action"], change["driver"], change["fleet"])
            assert change["outcome"] in ("applied", "deferred", "already")
            assert change["outcome"] != "applied" or write in {each for each, _ in effects}
    (action, driver, fleet), _ = effects[-1]
    lines = [
        line
        for line in crashes.workspace.run("why", driver, fleet, **crashes.environ).stdout.splitlines()
        if "applied" in line
    ]
    assert len(lines) == sum(write[1:] == (driver, fleet) for write, _ in effects)
    assert action == ("attach" if "attached to" in lines[-1] else "detach")

    print(f"{crashes.kills} kills, {len(effects)} effects, {len(intents)} intents, {len(history)} runs")  # noqa: T201
