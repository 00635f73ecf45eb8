"""The accounts of a cluster: a table of its database, with the settings of each.

Invariants: an account that is added again after its removal has a higher epoch than any worker ever had, so that no
earlier worker can write for it; settings are replaced only where that is asked for. Neighbours:
`settings.account_folder` reads the settings of an account, `service.cluster` connects to the database.
"""

import dataclasses
import datetime
import enum
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from worker.core.model.errors import AccountExists, JournalBusy, UnknownAccount

_LIST = """
    SELECT name, condition, gist, last_success, due_at, failures, epoch,
        CASE WHEN NOT released THEN worker END AS worker
    FROM cluster_accounts ORDER BY name
"""
_SETTINGS = "SELECT settings FROM cluster_accounts WHERE name = :name"
_LOCKED = "SELECT settings, epoch, permit_seconds FROM cluster_accounts WHERE name = :name FOR UPDATE"
_ADD = """
    INSERT INTO cluster_accounts (name, settings, epoch, permit_seconds)
    SELECT :name, :settings, coalesce(max(epoch), 0), coalesce(max(permit_seconds), 0)
    FROM cluster_removed WHERE name = :name
    ON CONFLICT (name) DO NOTHING
"""
_MAKE_RECORDS = """
    INSERT INTO accounts (account, name) SELECT coalesce(max(account), 0) + 1, :name FROM accounts WHERE true
    ON CONFLICT DO NOTHING
"""
_TAKE_LOCK = """
    SELECT pg_try_advisory_xact_lock(CAST(CAST(CAST('accounts' AS regclass) AS oid) AS int4), account) AS free
    FROM accounts WHERE name = :name
"""
"""The lock of a process that writes an account's journal in this database without being a worker of the cluster."""

_RECORDS = "SELECT run FROM runs JOIN accounts USING (account) WHERE name = :name LIMIT 1"
_REPLACE = """
    UPDATE cluster_accounts SET settings = :settings, changed_at = clock_timestamp(), due_at = clock_timestamp()
    WHERE name = :name
"""
_REMEMBER = """
    INSERT INTO cluster_removed (name, epoch, permit_seconds) VALUES (:name, :epoch, :permit_seconds)
    ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, permit_seconds = excluded.permit_seconds
"""
_REMOVE = "DELETE FROM cluster_accounts WHERE name = :name"


class Database(Protocol):
    """A connection to the database of the cluster. Every method blocks, and raises errors.JournalError."""

    def query(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a query."""
        ...

    def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Return how many rows a statement changed."""
        ...

    def transaction(self, *, write: bool = False) -> AbstractContextManager[None]:
        """Run the block as one transaction."""
        ...


class Added(enum.Enum):
    """What became of settings that were to be added."""

    ADDED = "added"
    CONTINUED = "added; it continues the records that the journal has under this name"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


@dataclasses.dataclass(frozen=True, slots=True)
class RegisteredAccount:
    """An account of the cluster as its worker last described it; `worker` is who has it now."""

    name: str
    condition: str | None
    gist: str | None
    last_success: datetime.datetime | None
    due_at: datetime.datetime
    failures: int
    epoch: int
    worker: str | None


class Registry:
    """The table of accounts. Every method blocks, and raises errors.JournalError where the database cannot be used."""

    def __init__(self, database: Database) -> None:
        """Take a connection to a database that has the tables of the journal."""
        self._database = database

    def accounts(self) -> list[RegisteredAccount]:
        """Return all accounts in the order of their names."""
        return [RegisteredAccount(**row) for row in self._database.query(_LIST)]

    def settings(self, name: str) -> bytes:
        """Return the settings of an account as they were added. Raises errors.UnknownAccount."""
        for row in self._database.query(_SETTINGS, {"name": name}):
            return _encoded(row)
        raise _unknown(name)

    def add(self, name: str, settings: bytes, *, replace: bool = False) -> Added:
        """Add an account, due at once; it does not exist, or has these settings, unless `replace`.

        Raises errors.AccountExists; errors.JournalBusy while a process runs the account from a folder.
        """
        written = {"name": name, "settings": settings.decode()}
        with self._database.transaction(write=True):
            if self._database.execute(_ADD, written):
                if not self._take_lock(name):
                    raise JournalBusy(f"another fleet-sync runs the account {name} outside the cluster")
                return Added.CONTINUED if self._database.query(_RECORDS, written) else Added.ADDED
            present = self._database.query(_LOCKED, {"name": name})
            if present and _encoded(present[0]) == settings:
                return Added.UNCHANGED
            if not replace:
                raise AccountExists(f"the cluster has an account {name} with other settings")
            self._database.execute(_REPLACE, written)
            return Added.REPLACED

    def _take_lock(self, name: str) -> bool:
        """Return whether no process writes to the account's journal; none can start to before the transaction ends."""
        while not (found := self._database.query(_TAKE_LOCK, {"name": name})):
            # A process that starts for the first time waits for this row, and then finds the account in the table.
            self._database.execute(_MAKE_RECORDS, {"name": name})
        return all(row["free"] for row in found)

    def remove(self, name: str) -> float:
        """Remove an account, and keep its epoch and its records; return for how many seconds a worker may still send.

        It can write nothing to the journal any more. Raises errors.UnknownAccount.
        """
        with self._database.transaction(write=True):
            for row in self._database.query(_LOCKED, {"name": name}):
                seconds: float = row["permit_seconds"]
                self._database.execute(_REMEMBER, {"name": name, "epoch": row["epoch"], "permit_seconds": seconds})
                self._database.execute(_REMOVE, {"name": name})
                return seconds
        raise _unknown(name)


def _encoded(row: Mapping[str, Any]) -> bytes:
    settings: str = row["settings"]
    return settings.encode()


def _unknown(name: str) -> UnknownAccount:
    return UnknownAccount(f"the cluster has no account {name}")
