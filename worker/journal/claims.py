"""Claims accounts of a cluster for this process, and keeps the permits to send for them.

Invariants: a claim makes a new epoch, which shuts every earlier one out of the journal; a permit ends `seconds` after
the moment before the database was asked, by this machine's own clock, so that it has ended before a successor that
waited as long may send. Everything blocks, except `Permit.is_valid`. Neighbours: `fenced_session` writes under a
permit, `cluster_queries` has the statements, `service.cluster_worker` decides what is claimed.
"""

import dataclasses
import datetime
import hashlib
import hmac
import os
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from worker.core.model.secret import Secret
from worker.journal import cluster_queries, connection, connection_pool


@dataclasses.dataclass(slots=True)
class Permit:
    """The right to send for one account, for a few seconds at a time."""

    epoch: int
    until: float
    claims: "Claims"

    def is_valid(self) -> bool:
        """Return whether the permit has not run out, by this machine's own clock."""
        return self.claims.uptime() < self.until

    def renew(self) -> None:
        """Ask the database for longer permits, for all accounts of this process. Raises errors.JournalError."""
        self.claims.heartbeat()


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """An account that this process has claimed, with what moves with it.

    For `unsettled_for` seconds after the claim an earlier owner may still send; 0 if none may. `failures` are the
    failed runs in a row, `closed_for` the seconds for which Charge wants no request. `due_at` is when a run was due.
    """

    name: str
    permit: Permit
    settings: str
    due_at: datetime.datetime
    unsettled_for: float
    failures: int = 0
    last_success: datetime.datetime | None = None
    closed_for: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """What a run leaves behind with the account: when the next one is due, in seconds, and what people are shown.

    `condition`, `gist` and `broken` stay as they are where they are None. It is `settled` if no earlier owner may send
    any more.
    """

    delay: float
    failures: int
    condition: str | None = None
    gist: str | None = None
    broken: str | None = None
    succeeded: bool = False
    closed_for: float = 0.0
    settled: bool = True


def process_name() -> str:
    """Return a name for this process that no other process ever has."""
    return f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"


class Claims:
    """The claims of this process, which the others know by the name `worker`."""

    def __init__(
        self,
        pool: connection_pool.ConnectionPool,
        *,
        worker: str,
        seconds: float,
        uptime: Callable[[], float],
        beats: connection_pool.ConnectionPool | None = None,
    ) -> None:
        """Take how long a permit lasts, and a clock that goes on while the machine sleeps.

        `beats` are connections for what shows life, which then waits for no claim.
        """
        self.worker = worker
        self.uptime = uptime
        self._pool = pool
        self._beats = beats or pool
        self._seconds = seconds
        self._permits: dict[str, Permit] = {}
        self._changing, self._asking = threading.Lock(), threading.Lock()
        self._asked = -float("inf")
        self._secret = b""

    def register(self, version: str) -> None:
        """Let the others know that this process lives. Raises errors.JournalError."""
        values = {"worker": self.worker, "version": version}
        self._beats.transaction(lambda database: database.execute(cluster_queries.REGISTER, values))

    def unregister(self) -> None:
        """Let the others know that this process has ended. Raises errors.JournalError."""
        self._execute(cluster_queries.UNREGISTER, {})

    def heartbeat(self) -> bool:
        """Show that this process lives, and lengthen the permits of what is still its own.

        Returns whether the others still count it as alive; if not, it may register again.
        """
        called = self.uptime()
        with self._asking:
            if self._asked > called:
                return True  # another thread has asked meanwhile
            asked = self.uptime()  # before asking: the answer may be old when it arrives
            rows = self._beats.transaction(lambda found: found.query(cluster_queries.BEAT, {"worker": self.worker}))
            self._asked = asked
        with self._changing:
            for row in rows:
                permit = self._permits.get(row["name"])
                if permit is not None and permit.epoch == row["epoch"]:
                    permit.until = max(permit.until, asked + self._seconds)
        return bool(rows)

    def claim(self, name: str) -> Claim | None:
        """Claim an account for a run that is due; return None if none is, or a living process has the account.

        Waits until a commit of the last owner is through. Raises errors.JournalError.
        """
        asked = self.uptime()
        row = self._pool.transaction(lambda database: self._claim(database, name))
        if row is None:
            return None
        permit = Permit(row["epoch"] + 1, asked + self._seconds, self)
        with self._changing:
            self._permits[name] = permit
        moved = {each: row[each] for each in ("settings", "due_at", "failures", "last_success")}
        closed_for = max(0.0, float(row["closed_for"]))
        return Claim(name, permit, unsettled_for=row["permit_seconds"], closed_for=closed_for, **moved)

    def _claim(self, database: connection.Connection, name: str) -> connection.Row | None:
        for row in database.query(cluster_queries.LOCK_ACCOUNT, {"name": name}):
            if not row["due"] or (row["lives"] and not row["released"] and row["worker"] != self.worker):
                return None
            values = {"name": name, "worker": self.worker, "seconds": self._seconds}
            database.execute(cluster_queries.CLAIM, values)
            return row
        return None

    def no_permit(self) -> Permit:
        """Return what a process has that only reads an account: it may send nothing, and no claim has its epoch."""
        return Permit(-1, -float("inf"), self)

    def release(self, claim: Claim, release: Release) -> bool:
        """Leave an account to whoever claims it next; return whether it still was this claim's."""
        values = {**dataclasses.asdict(release), "due_at": claim.due_at, "epoch": claim.permit.epoch}
        with self._changing:
            if self._permits.get(claim.name) is claim.permit:
                self._permits.pop(claim.name)
        claim.permit.until = -float("inf")  # nothing is sent after it
        return bool(self._execute(cluster_queries.RELEASE, {**values, "name": claim.name}))

    def keep_key(self, claim: Claim, key: Secret, *, base_url: str) -> str | None:
        """Note whose key this is; return the name of another account that has the same key, if there is one.

        Then the account has no key: the one that it had is free, because the other account may wait for it.
        """
        digest = hmac.digest(self._digest_secret(), f"{base_url}\n{key.reveal()}".encode(), hashlib.sha256)
        values = {"digest": digest, "name": claim.name, "epoch": claim.permit.epoch}

        def work(database: connection.Connection) -> str | None:
            owners = database.query(cluster_queries.OWNER_OF_KEY, values)
            if not owners:
                database.query(cluster_queries.ONE_KEY_AT_A_TIME)  # two accounts may begin with one key at once
                owners = database.query(cluster_queries.OWNER_OF_KEY, values)
            if not owners:
                database.execute(cluster_queries.KEEP_KEY, values)
            other: str | None = next((row["name"] for row in owners if row["name"] != claim.name), None)
            if other is not None:
                database.execute(cluster_queries.LEAVE_KEY, values)
            return other

        return self._pool.transaction(work)

    def request_run(self, name: str) -> None:
        """Let the next run of an account be due now."""
        self._execute(cluster_queries.REQUEST_RUN, {"name": name})

    def living(self) -> int:
        """Return how many processes share the accounts."""
        number: int = self._query(cluster_queries.LIVING, {})[0]["number"]
        return number

    def statuses(self) -> Sequence[connection.Row]:
        """Return what the last run of each account said about it."""
        return self._query(cluster_queries.STATUSES, {})

    def _digest_secret(self) -> bytes:
        if not self._secret:
            self._secret = str(self._query(cluster_queries.DIGEST_KEY, {})[0]["secret"]).encode()
        return self._secret

    def _query(self, statement: str, values: dict[str, Any]) -> Sequence[connection.Row]:
        return self._pool.transaction(lambda database: database.query(statement, {"worker": self.worker, **values}))

    def _execute(self, statement: str, values: dict[str, Any]) -> int:
        return self._pool.transaction(lambda database: database.execute(statement, {"worker": self.worker, **values}))
