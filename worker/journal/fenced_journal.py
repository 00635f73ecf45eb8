"""The journal of one account of a cluster.

Invariant: it is that of a single account, on other sessions. Neighbours: `sql_journal` does everything, with the
sessions of `fenced_session`; `service.cluster_worker` has one for each run.
"""

from worker.core.model.ports import Clock
from worker.journal import claims, connection_pool, fenced_session, sql_journal


class FencedJournal(sql_journal.SqlJournal):
    """The journal of an account, as the process writes it that has claimed the account."""

    def __init__(
        self, pool: connection_pool.ConnectionPool, *, account: str, permit: claims.Permit, clock: Clock
    ) -> None:
        """Take the connections, and the permit of the claim."""
        writer = fenced_session.FencedSession(pool, account=account, permit=permit)
        self._use(writer, fenced_session.SharedSession(pool, account=account), clock)

    def may_send(self) -> bool:
        """Return whether the permit has not run out. Does not block."""
        return self._writer.is_recent_writer()
