"""Reads and writes the journal of one account of a cluster, on connections that all accounts share.

Invariants: every commit begins with the fence, which holds only for the epoch of this claim; an epoch that is lost
stays lost. Everything here blocks, except `is_recent_writer`. Neighbours: `sql_journal` uses this as it uses
`session`, `claims` makes the epoch and the permit, `connection_pool` lends the connections.
"""

from worker.core.model.errors import JournalError
from worker.journal import claims, cluster_queries, connection, connection_pool, queries, session


class SharedSession:
    """Reads the journal of an account, and writes what any process may."""

    def __init__(self, pool: connection_pool.ConnectionPool, *, account: str) -> None:
        """Take the connections and the account's name."""
        self._pool = pool
        self._name = account
        self._number = 0

    def read(self, work: session.Work[session.Result]) -> session.Result | None:
        """Do some reading as one transaction. Returns `None` if the account has no records yet."""

        def within(database: connection.Connection) -> session.Result | None:
            return work(database) if self._find(database) else None

        return self._pool.transaction(within)

    def write_unlocked(self, work: session.Work[session.Result]) -> session.Result:
        """Do some writing as one transaction, without a claim. For what any process may record."""

        def within(database: connection.Connection) -> session.Result:
            self._make(database)
            return work(database)

        return self._write(within)

    def close(self) -> None:
        """Do nothing: the connections are the pool's."""

    def _write(self, work: session.Work[session.Result]) -> session.Result:
        """Do some writing as one transaction. If it fails, a number that it made is free for another account."""
        try:
            return self._pool.transaction(work)
        except BaseException:
            self._number = 0
            raise

    def _find(self, database: connection.Connection) -> bool:
        if not self._number:
            for row in database.query(queries.ACCOUNT, {"name": self._name}):
                self._number = row["account"]
        database.account = self._number
        return bool(self._number)

    def _make(self, database: connection.Connection) -> None:
        while not self._find(database):  # another process may take the number: then the next one is free
            database.execute(queries.ADD_ACCOUNT, {"name": self._name})


class FencedSession(SharedSession):
    """Writes the journal of an account as the process that claimed it."""

    def __init__(self, pool: connection_pool.ConnectionPool, *, account: str, permit: claims.Permit) -> None:
        """Take the connections, the account's name, and the permit of its claim."""
        super().__init__(pool, account=account)
        self._permit = permit

    def open(self) -> None:
        """Make sure that the account still belongs to this claim. Raises errors.JournalError."""
        self.write(lambda database: None)

    def is_recent_writer(self) -> bool:
        """Return whether the permit is valid: no other process sends for this account. Does not block."""
        return self._permit.is_valid()

    def check(self) -> None:
        """Raise errors.JournalError unless this process may send for the account; renews the permit if it ran out."""
        if not self._permit.is_valid():
            self._permit.renew()
        if not self._permit.is_valid():
            raise self._lost()

    def write(self, work: session.Work[session.Result]) -> session.Result:
        """Do some writing as one transaction, behind the fence. Raises errors.JournalError."""

        def within(database: connection.Connection) -> session.Result:
            self._pass_fence(database)
            self._make(database)
            database.epoch = self._permit.epoch
            return work(database)

        try:
            return self._write(within)
        except JournalError as error:
            if error.code != _LOST:
                # The server may have given this session up because the process was stopped: then it says too little.
                self._pool.transaction(self._pass_fence)
            raise

    def purge(self) -> bool:
        """Note that no trace is left of what was forgotten: the server removes it by itself."""
        self.write(lambda database: database.execute(queries.MARK_PURGED))
        return True

    def _pass_fence(self, database: connection.Connection) -> None:
        if not database.query(cluster_queries.FENCE, {"name": self._name, "epoch": self._permit.epoch}):
            raise self._lost()

    def _lost(self) -> JournalError:
        return JournalError(
            f"this process may no longer write for the account {self._name}: another worker has it, or the database"
            " did not answer in time",
            code=_LOST,
            remedy="Another worker goes on with the account. If this happens often, look at the database's load.",
        )


_LOST = "journal_lost"
