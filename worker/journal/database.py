"""The journal's database: SQLAlchemy Core on SQLite or PostgreSQL. Blocks; `keeper` calls it.

Invariants: every method is one transaction, durable when it returns; whatever fails is an errors.JournalError, and
nothing of it is left. A connection that broke is never made anew: with it went the writer's lock. Neighbours: tables
in `schema`, connections in `engines`, what people ask in `archive`.
"""

import contextlib
import datetime
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from worker.core.model.errors import JournalError
from worker.core.model.identifiers import DriverId, FleetId, Membership, RunId
from worker.core.model.ports import OpenIntent, PastChange, PastRun
from worker.core.model.serialization import format_time
from worker.journal import address as addresses
from worker.journal import advisory, archive, engines, failures, lookups, rows, schema, upgrade

_FILLED = ("outcome", "attempts", "request_id", "code", "message")


class Database(lookups.Lookups):
    """An open journal."""

    def __init__(self, address: addresses.Address) -> None:
        """Connect; an SQLite file is made where it is missing."""
        self._address = address
        self.broken = False
        with self._failures():
            self._engine = engines.make(address)
            self._connection = self._engine.connect()

    # --- Being the one writer -----------------------------------------------------------------------------

    def lock(self) -> None:
        """Take the writer's lock of PostgreSQL for as long as this is open. Raises errors.JournalBusy."""
        with self._reading() as connection:
            advisory.acquire(connection, shown=self._address.shown)

    def unlock(self) -> None:
        """Let go of the writer's lock of PostgreSQL."""
        with self._reading() as connection:
            advisory.release(connection, shown=self._address.shown)

    def ping(self) -> None:
        """See that the connection lives."""
        self.ask("SELECT 1", {})

    def probe(self) -> None:
        """Raise errors.JournalError where the journal may be read and not written."""
        with self._writing() as connection:
            connection.execute(sa.text(lookups.PROBE))

    def outdated(self) -> bool:
        """Tell whether the journal is yet to be made, or brought up to date. Raises errors.JournalError if newer."""
        with self._reading() as connection:
            return upgrade.needed(connection, shown=self._address.shown)

    def upgrade(self) -> None:
        """Make the journal's tables, or bring them up to date. For the one writer."""
        with self._writing() as connection:
            if upgrade.needed(connection, shown=self._address.shown):
                upgrade.apply(connection)

    # --- Writing ------------------------------------------------------------------------------------------

    def begin(
        self,
        run: rows.Row,
        lists: Sequence[rows.Row],
        sources: Sequence[rows.Row],
        intents: Sequence[rows.Row],
        *,
        spent: str | None = None,
    ) -> None:
        """Insert a run with its lists, sources and intents, and delete the approval of this digest."""
        with self._writing() as connection:
            try:
                _keep(connection, lists)
                connection.execute(schema.runs.insert(), [run])
                _insert(connection, schema.sources, sources)
                _insert(connection, schema.intents, intents)
                if spent is not None:
                    connection.execute(schema.approvals.delete().where(schema.approvals.c.digest == spent))
            except sa.exc.IntegrityError:
                raise JournalError(
                    f"the run {run['run']} or one of its idempotency keys is in the journal already"
                ) from None

    def record(self, group: Sequence[rows.Row]) -> None:
        """Fill in outcomes of intents.

        The same once more is harmless. Doubt may take the place of any outcome, and any the place of doubt; otherwise
        another one is refused, and all with it.
        """
        if not group:
            return
        with self._writing() as connection:
            filled = connection.execute(_FILL[connection.dialect.name], {"group": group})
            if filled.rowcount != len(group):
                for row in group:
                    _examine(connection, row)

    def finish(self, process_shutdown: rows.Row, lists: Sequence[rows.Row], sources: Sequence[rows.Row]) -> None:
        """Fill in the end of a run, or insert it whole where it never began."""
        filled = {
            name: value
            for name, value in process_shutdown.items()
            if name not in ("run", "trigger") and value is not None
        }
        with self._writing() as connection:
            _keep(connection, lists)
            update = schema.runs.update().where(schema.runs.c.run == process_shutdown["run"]).values(filled)
            if not connection.execute(update).rowcount:
                connection.execute(schema.runs.insert(), [process_shutdown])
                _insert(connection, schema.sources, sources)

    def remember(self, resolutions: Mapping[str, str], *, now: datetime.datetime) -> None:
        """Put these resolutions in the place of earlier ones."""
        known, remembered = schema.resolutions, format_time(now)
        newly_absent = [
            {"reference": rows.text(reference), "driver": driver, "remembered": remembered}
            for reference, driver in resolutions.items()
        ]
        with self._writing() as connection:
            connection.execute(known.delete().where(known.c.reference == sa.bindparam("reference")), newly_absent)
            connection.execute(known.insert(), newly_absent)

    def note_absences(
        self, newly_absent: Collection[Membership], *, since: datetime.datetime, returned: Collection[Membership]
    ) -> None:
        """Insert the memberships that are absent since then, and delete those that are not any more."""
        known = schema.absences
        here = sa.and_(known.c.driver == sa.bindparam("gone_driver"), known.c.fleet == sa.bindparam("gone_fleet"))
        gone = [{"gone_driver": driver, "gone_fleet": fleet} for driver, fleet in sorted(returned)]
        with self._writing() as connection:
            if gone:
                connection.execute(known.delete().where(here), gone)
            _insert(connection, known, rows.absences(newly_absent, since=since))

    def approve(self, digest: str, *, now: datetime.datetime, until: datetime.datetime) -> None:
        """Allow the held changes of a plan until then."""
        allowed = {"digest": digest, "approved": format_time(now), "until": format_time(until)}
        with self._writing() as connection:
            connection.execute(schema.approvals.delete().where(schema.approvals.c.digest == digest))
            connection.execute(schema.approvals.insert(), [allowed])

    def prune(self, *, before: datetime.datetime) -> None:
        """Delete runs that ended, or were cut off, before then and left nothing open; approvals too."""
        runs, intents, then = schema.runs, schema.intents, format_time(before)
        unsettled = sa.exists().where(intents.c.run == runs.c.run, intents.c.outcome.is_(None))
        old = sa.select(runs.c.run).where(
            runs.c.started < then, sa.or_(runs.c.finished.is_(None), runs.c.finished < then), ~unsettled
        )
        with self._writing() as connection:
            forgotten = [{"old": run} for run in connection.execute(old).scalars()]
            if forgotten:
                for table in (schema.sources, intents, runs):
                    connection.execute(table.delete().where(table.c.run == sa.bindparam("old")), forgotten)
                named = (
                    sa.select(column).where(column.is_not(None)) for column in (runs.c.plan_lists, runs.c.report_lists)
                )
                connection.execute(schema.lists.delete().where(schema.lists.c.name.not_in(sa.union(*named))))
            connection.execute(schema.approvals.delete().where(schema.approvals.c.until < then))

    # --- Reading ------------------------------------------------------------------------------------------

    def ask(self, question: str, parameters: Mapping[str, str]) -> Sequence[Sequence[Any]]:
        """Give the rows that answer a question."""
        with self._reading() as connection:
            return connection.execute(sa.text(question), parameters).all()

    def open_intents(self) -> tuple[OpenIntent, ...]:
        """Give the intents without an outcome, the oldest first."""
        with self._reading() as connection:
            return archive.open_intents(connection)

    def runs(self, *, limit: int | None) -> tuple[PastRun, ...]:
        """Give past runs, the newest first."""
        with self._reading() as connection:
            return archive.runs(connection, limit=limit)

    def run(self, run: RunId) -> PastRun | None:
        """Give one past run."""
        with self._reading() as connection:
            return archive.run(connection, run)

    def run_ids(self, beginning: str, *, limit: int) -> tuple[RunId, ...]:
        """Give the ids that begin so."""
        with self._reading() as connection:
            return archive.run_ids(connection, beginning, limit=limit)

    def documents(self, run: RunId) -> rows.Documents:
        """Give a run's plan and report."""
        with self._reading() as connection:
            return archive.documents(connection, run)

    def changes(
        self,
        *,
        run: RunId | None,
        driver: DriverId | None,
        fleet: FleetId | None,
        limit: int | None,
    ) -> tuple[PastChange, ...]:
        """Give past writes that fit, the oldest first; `limit` keeps the newest."""
        with self._reading() as connection:
            return archive.changes(connection, run=run, driver=driver, fleet=fleet, limit=limit)

    def close(self) -> None:
        """Close the database. Whoever comes next finds no lock."""
        if self._address.path is None and not self.broken:
            with contextlib.suppress(JournalError), self._reading() as connection:
                advisory.release_all(connection)
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._connection.close()
        self._engine.dispose()

    # --- Transactions -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._failures(), self._connection.begin():
            yield self._connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._reading() as connection:
            if self._address.path is not None:
                # Begun by hand, and as a writer from the start: one that reads first could find itself too late.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, OSError, UnicodeError) as error:  # a file's name need not be text
            self.broken = self.broken or getattr(error, "connection_invalidated", False)
            raise failures.explain(getattr(error, "orig", None) or error, self._address) from error


def _fill(elements: Callable[..., sa.Function[Any]]) -> sa.Update:
    """Write the statement that fills in a whole group, given as JSON.

    One statement instead of one a row: SQLite's driver gives up the interpreter's lock for every statement, and beside
    a busy event loop takes milliseconds to get it back.
    """
    intents = schema.intents.c
    group = elements(sa.bindparam("group", type_=sa.JSON)).table_valued(sa.column("value", sa.JSON))
    row = group.c.value
    becomes = row["outcome"].as_string()
    open_to = sa.or_(intents.outcome.is_(None), intents.outcome == "unknown", becomes == "unknown")
    return (
        schema.intents.update()
        .where(intents.key == row["intent"].as_string(), open_to)
        .values(
            {name: row[name].as_string() for name in ("settled", *_FILLED)} | {"attempts": row["attempts"].as_integer()}
        )
    )


_FILL = {"sqlite": _fill(sa.func.json_each), "postgresql": _fill(sa.func.json_array_elements)}


def _insert(connection: sa.Connection, table: sa.Table, group: Sequence[rows.Row]) -> None:
    if group:
        connection.execute(table.insert(), group)


def _keep(connection: sa.Connection, lists: Sequence[rows.Row]) -> None:
    connection.execute(sa.text(lookups.KEEP), lists)


def _examine(connection: sa.Connection, row: rows.Row) -> None:
    """See that the intent now has this outcome, whoever filled it in."""
    wanted = sa.select(*(schema.intents.c[name] for name in _FILLED)).where(schema.intents.c.key == row["intent"])
    found = connection.execute(wanted).mappings().first()
    if found is None:
        raise JournalError(f"no intent in the journal has the idempotency key {row['intent']}")
    if any(found[name] != row[name] for name in _FILLED):
        raise JournalError(
            f"the intent {row['intent']} ended as {found['outcome']}, and cannot end as {row['outcome']} too"
        )
