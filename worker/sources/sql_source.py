"""Reads the rows of a query from PostgreSQL or SQLite.

Invariant: all rows come from one read-only transaction, and a query whose rows do not all arrive is an error.
Neighbours: `sql_postgres` and `sql_sqlite` talk to the databases, in worker threads; the rows become a document in CSV.
"""

import csv
import dataclasses
import datetime
import decimal
import hashlib
import importlib
import io
import pathlib
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import anyio
from anyio import to_thread

from worker.core.model.errors import SourceError
from worker.sources import fetching, positions, secret_files

_SQLITE = "sqlite:///"
_POSTGRESQL = "postgresql://"
_CONNECT_SECONDS = 10.0
_FORMS = f"write an address like {_POSTGRESQL}user:password@host/database, or {_SQLITE} and the path of a file"

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """Where the database is: `url_file` contains its address, relative paths of SQLite are relative to `folder`.

    `timeout` is how long a query may take with all of its rows, in seconds.
    """

    url_file: pathlib.Path
    folder: pathlib.Path
    timeout: float = 60.0


class SqlError(Exception):
    """The database refused or failed. The message contains no secret."""

    def __init__(self, message: str, code: fetching.Code) -> None:
        """Keep the message and the code of the source's error."""
        super().__init__(message)
        self.code: fetching.Code = code


class Session(Protocol):
    """A connection in one read-only transaction. Raises SqlError, also if it is interrupted."""

    def query(self, statement: str) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
        """Return the names of the columns, and the rows."""
        ...

    def interrupt(self) -> None:
        """End a query that runs in another thread."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


Connect = Callable[[str, float], Session]


@dataclasses.dataclass(frozen=True, slots=True)
class SqlFetcher:
    """Implements fetching.Fetcher for one query. Places begin with `name`, and count rows from the header on."""

    database: Database
    statement: str
    revision_statement: str
    name: str

    async def fetch(self) -> fetching.Fetched:
        """Return the rows as CSV. Raises errors.SourceError."""
        document = await self._run(self._document)
        return fetching.Fetched((fetching.Document(self.name, document, suffix=".csv"),), proof="transaction")

    async def peek(self) -> str | None:
        """Return a hash of what the query for the revision returns; None if there is no such query."""
        return await self._run(self._revision) if self.revision_statement else None

    def _document(self, session: Session) -> bytes:
        columns, rows = session.query(self.statement)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(columns)
        for row in rows:
            writer.writerow(map(self._text, columns, row))
            if text.tell() > positions.MAX_BYTES:
                raise fetching.too_large(self.name, "the result")
        return text.getvalue().encode()

    def _revision(self, session: Session) -> str:
        columns, rows = session.query(self.revision_statement)
        found = [tuple(map(self._text, columns, row)) for row, _ in zip(rows, range(1000), strict=False)]
        if not found:
            raise self._failure("revision_query returns no row: it must return what changes with the rows")
        return hashlib.sha256(repr(found).encode()).hexdigest()

    def _text(self, column: str, cell: Any) -> str:
        """Return a cell as text. What has several spellings must be cast in the query."""
        match cell:
            case None:
                return ""
            case str():
                return cell
            case bool():
                return "true" if cell else "false"
            case int() | decimal.Decimal() | uuid.UUID():
                return str(cell)
            case datetime.date():  # also with a time
                return cell.isoformat()
            case _:
                what = f"column {positions.quote(column)} has values of type {type(cell).__name__}"
                raise self._failure(f"{what}: cast it to text")

    async def _run(self, work: Callable[[Session], T]) -> T:
        """Connect, and work in a thread. A call that is cancelled or too slow interrupts the database."""
        opened: list[Session] = []
        abandoned = threading.Event()

        def run() -> T:
            session = self._connected()
            opened.append(session)
            try:
                if abandoned.is_set():  # while it connected
                    raise SqlError("the call was cancelled", "source_timeout")
                return work(session)
            finally:
                session.close()

        try:
            with anyio.fail_after(_CONNECT_SECONDS + self.database.timeout):
                return await to_thread.run_sync(run, abandon_on_cancel=True)
        except TimeoutError:
            message = f"the query did not end within statement_timeout_seconds = {self.database.timeout:g}"
            raise fetching.failure(self.name, message, code="source_timeout") from None
        except SqlError as error:
            raise fetching.failure(self.name, str(error), code=error.code) from None
        finally:
            abandoned.set()
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                for session in opened:
                    await to_thread.run_sync(session.interrupt, abandon_on_cancel=True)

    def _connected(self) -> Session:
        url = secret_files.read(self.database.url_file, name=self.name, setting="url_file").reveal()
        if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
            connect: Connect = importlib.import_module("worker.sources.sql_sqlite").connect
            return connect(str(self.database.folder / url.removeprefix(_SQLITE)), self.database.timeout)
        if url.startswith(_POSTGRESQL):
            try:
                connect = importlib.import_module("worker.sources.sql_postgres").connect
            except ImportError:
                raise self._failure("PostgreSQL needs an extra: install fleet-sync[postgres]") from None
            return connect(url, self.database.timeout)
        raise self._failure(f"the file of url_file contains no address of a database: {_FORMS}")

    def _failure(self, message: str) -> SourceError:
        return fetching.failure(self.name, message)
