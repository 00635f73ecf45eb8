"""The database of the cluster under the storm, read beside the program.

Invariant: after it was emptied and the accounts were added at the start, nothing is written. Neighbours: `judge` gets
what is read here.
"""

import contextlib
import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Mapping
from urllib import parse as urls

import psycopg

from tests.storm import judge
from worker.accounts import registry
from worker.journal import address, connection, migrations

_LOOK = "SELECT name, epoch, CASE WHEN released THEN '' ELSE coalesce(worker, '') END, due_at FROM cluster_accounts"
_RUNS = "SELECT a.name, r.started FROM runs r JOIN accounts a USING (account) WHERE r.finished IS NOT NULL"
_SUCCESSES = "SELECT a.name, r.finished FROM runs r JOIN accounts a USING (account) WHERE r.exit_code = 0"
_ORIGINS = """
    SELECT a.name, i.key, r.epoch, i.resent = 1 FROM intents i
    JOIN runs r ON (r.account, r.number) = (i.account, i.run_number) JOIN accounts a ON a.account = i.account
"""
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """The table of accounts at a moment: who had each, and when each was due."""

    at: float
    owners: Mapping[str, judge.Owner]
    due: Mapping[str, float]


class Database:
    """A connection beside the workers."""

    def __init__(self, host: str) -> None:
        """Take the folder of the server's socket."""
        self.url = f"postgresql://postgres@/postgres?host={urls.quote(host)}"
        self._raw = psycopg.connect(self.url, autocommit=True, prepare_threshold=None)  # it may be a pooler's

    def close(self) -> None:
        """End the session."""
        self._raw.close()

    def clear(self) -> None:
        """Remove what an earlier storm left on the same server."""
        self._raw.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def add(self, accounts: Iterable[tuple[str, str]]) -> None:
        """Make the tables, and add accounts with their settings."""
        with contextlib.closing(connection.connect(address.parse(self.url))) as database:
            if migrations.version(database) is None:
                migrations.migrate(database)
            table = registry.Registry(database)
            for name, settings in accounts:
                table.add(name, settings.encode())

    def look(self, now: float) -> Look:
        """Return the table of accounts."""
        owners, due = {}, {}
        for name, epoch, worker, due_at in self._raw.execute(_LOOK):
            owners[name] = judge.Owner(epoch, worker)
            due[name] = due_at.timestamp()
        return Look(now, owners, due)

    def starts(self) -> dict[str, list[float]]:
        """Return when the finished runs of each account began, in seconds since 1970."""
        found: dict[str, list[float]] = {}
        for name, started in self._raw.execute(_RUNS):
            found.setdefault(name, []).append(_moment(started))
        return found

    def successes(self) -> dict[str, list[float]]:
        """Return when the successful runs of each account ended, in seconds since 1970."""
        found: dict[str, list[float]] = {}
        for name, finished in self._raw.execute(_SUCCESSES):
            found.setdefault(name, []).append(_moment(finished))
        return found

    def origins(self) -> dict[tuple[str, str], judge.Origin]:
        """Return the epoch of each idempotency key, by account and key."""
        rows = self._raw.execute(_ORIGINS)
        return {(name, key): judge.Origin(epoch or 0, resent) for name, key, epoch, resent in rows}

    def sessions(self) -> int:
        """Return how many sessions others have."""
        row = self._raw.execute(_SESSIONS).fetchone()
        return int(row[0]) if row else 0


@contextlib.contextmanager
def opened(host: str) -> Iterator[Database]:
    """Connect for the duration of the block."""
    database = Database(host)
    try:
        yield database
    finally:
        database.close()


def _moment(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()
