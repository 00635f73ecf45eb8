"""Processes that share the accounts of a cluster, as the tests of the fence and of claims have them.

Neighbours: `backends` has the database.
"""

import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures
from urllib import parse as urls

from tests.journal import backends
from worker.journal import claims, connection, connection_pool, fenced_journal, fenced_session

SECONDS = 3.0
"""How long a permit lasts."""


class Uptime:
    """A machine's own clock: a test lets the time pass."""

    def __init__(self) -> None:
        """Start some time after the machine did."""
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Return the present moment."""
        return self.seconds


class Process:
    """A process of the cluster: its connections, its claims, its clock."""

    def __init__(self, backend: backends.PostgresBackend, name: str, *, seconds: float = SECONDS) -> None:
        """Start and register."""
        self.name = name
        self.clock = backend.clock
        self.uptime = Uptime()
        self.pool = connection_pool.ConnectionPool(backend.url, size=3)
        self.claims = claims.Claims(self.pool, worker=name, seconds=seconds, uptime=self.uptime)
        self.claims.register("1.0")

    def claimed(self, account: str = "acme") -> claims.Claim:
        """Claim an account that can be claimed."""
        claim = self.claims.claim(account)
        assert claim is not None
        return claim

    def journal(self, claim: claims.Claim) -> fenced_journal.FencedJournal:
        """Return the journal that is written under a claim."""
        return fenced_journal.FencedJournal(self.pool, account=claim.name, permit=claim.permit, clock=self.clock)

    def session(self, claim: claims.Claim) -> fenced_session.FencedSession:
        """Return the session in which the journal is written under a claim."""
        return fenced_session.FencedSession(self.pool, account=claim.name, permit=claim.permit)

    @contextlib.contextmanager
    def stopped_in_commit(self, claim: claims.Claim) -> Iterator["futures.Future[int]"]:
        """Stop a commit after its first statements, as SIGSTOP would; it goes on after the block."""
        begun, goes_on = threading.Event(), threading.Event()

        def work(database: connection.Connection) -> int:
            rows = database.execute("UPDATE accounts SET mode = 'late' WHERE account = :account")
            begun.set()
            goes_on.wait(60)
            return rows

        with futures.ThreadPoolExecutor(1) as threads:
            commit = threads.submit(self.session(claim).write, work)
            assert begun.wait(60)
            try:
                yield commit
            finally:
                goes_on.set()


class Cluster:
    """A database with accounts, and its processes."""

    def __init__(self, backend: backends.PostgresBackend) -> None:
        """Make the tables and one account."""
        self.backend = backend
        # The schema has a clock of its own, which can be set.
        backend.url = backend.url.replace(
            urls.quote(f"search_path={backend.schema}"), urls.quote(f"search_path={backend.schema},pg_catalog")
        )
        self._skewed = False
        self.processes: list[Process] = []
        connection_pool.ConnectionPool(backend.url, size=1).migrate()
        self.add("acme")

    def add(self, account: str) -> None:
        """Add an account."""
        self.tell(f"INSERT INTO cluster_accounts (name, settings) VALUES ('{account}', '')")  # noqa: S608

    def tell(self, statement: str) -> None:
        """Run a statement in the cluster's schema."""
        self.backend.tell(f"SET search_path = {self.backend.schema}; {statement}")

    def set_clock(self, interval: str) -> None:
        """Set the server's clock by this much."""
        self.backend.tell(
            f"CREATE OR REPLACE FUNCTION {self.backend.schema}.now() RETURNS timestamptz STABLE LANGUAGE sql"
            f" AS $$ SELECT pg_catalog.now() + interval '{interval}' $$"
        )

    def process(self, name: str, *, seconds: float = SECONDS) -> Process:
        """Start a process whose permits last so long."""
        self.processes.append(Process(self.backend, name, seconds=seconds))
        return self.processes[-1]

    def bury(self, process: Process) -> None:
        """Do what a process does that has watched another one long enough."""
        self.tell(f"DELETE FROM cluster_workers WHERE worker = '{process.name}'")  # noqa: S608

    def close(self) -> None:
        """Close every connection."""
        for process in self.processes:
            process.pool.close()
