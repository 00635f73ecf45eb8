"""The durable journal as a run writes it: one commit a call.

Invariant: a method that writes returns when its commit is on disk. Neighbours: `sql_history` and `sql_names` are what
people look up, `sql_base` has the sessions of both, `queries` the statements, `row_codec` the rows.
"""

import datetime
from collections.abc import Collection, Mapping, Sequence

from worker.core.model.errors import JournalError
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, Membership, Resolutions, RunId
from worker.core.model.outcomes import Outcome
from worker.core.model.plan import GuardedPlan
from worker.core.model.ports import (
    Clock,
    Intent,
    JournalOwner,
    OpenIntent,
    OwnWrite,
    PastRefusals,
    RecentChanges,
)
from worker.core.model.report import Report
from worker.core.model.serialization import format_time
from worker.core.model.source_history import SourceRecord
from worker.journal import address as addresses
from worker.journal import connection, queries, row_codec, session, sql_history, sql_names


class SqlJournal(sql_history.SqlHistory, sql_names.SqlNames):
    """Implements ports.Journal and ports.RunHistory on SQLite or PostgreSQL; opened when it is first used."""

    def __init__(self, url: str, *, clock: Clock, account: str = "default") -> None:
        """Take `sqlite:///…` or `postgresql://…`, and the account's name in it. Raises errors.JournalError."""
        address = addresses.parse(url)
        writer = session.WriterSession(address, account=account, clock=clock)
        self._use(writer, session.Session(address, account=account), clock)

    async def open(self) -> tuple[OpenIntent, ...]:
        """Become the one writer, and return the open intents."""
        await self._run(self._writer.open)
        return tuple(map(row_codec.open_intent, await self._ask(queries.OPEN_INTENTS)))

    async def check(self) -> None:
        """Raise errors.JournalError unless this process still is the one writer."""
        if self._writer.is_recent_writer():
            return
        async with self._checking:  # while others wait here, one of them checks for all
            if not self._writer.is_recent_writer():
                await self._run(self._writer.check)

    def may_send(self) -> bool:
        """Return False where another process may be the writer by now. Does not block.

        A writer that holds a lock keeps it however long it was stopped.
        """
        return True

    async def owner(self) -> JournalOwner:
        """Return the account that the journal belongs to, and the fleets that it knows."""
        owners, fleets = await self._ask(queries.OWNER), await self._ask(queries.FLEETS)
        return row_codec.owner(owners, fleets)

    async def claim(self, account: Account, *, fleets: Mapping[FleetId, str], managed: Collection[FleetId]) -> None:
        """Record whose journal this is, and its fleets, if that is new. Forgets the fleets of another account."""
        known = await self.owner()
        foreign = known.account != account
        new = row_codec.fleets(JournalOwner(None, {}) if foreign else known, fleets, managed)

        def work(database: connection.Connection) -> None:
            if foreign:
                database.execute(queries.FORGET_FLEETS)
                database.execute(queries.SET_OWNER, {"base_url": account.base_url, "mode": account.mode})
            database.write_rows(queries.KEEP_FLEETS, new)

        if foreign or new:
            await self._write(work)

    async def begin(
        self,
        run: RunId,
        *,
        trigger: str,
        guarded: GuardedPlan,
        intents: Sequence[Intent],
        resent: Collection[IntentKey] = (),
        spent: str | None = None,
    ) -> None:
        """Record the run, its plan and intents in one commit, which also uses up an approval."""

        def work(database: connection.Connection) -> None:
            database.allow_computing(len(intents) + len(guarded.held))
            now, written = self._now(), row_codec.intents(intents)
            forgotten = sql_names.tombstones(database)
            row, lists = row_codec.begun(
                run, trigger=trigger, guarded=guarded, written=written, now=now, forgotten=forgotten
            )
            sql_names.keep(database, guarded.people, forgotten, now=now)
            database.write_rows(queries.KEEP_LISTS, lists)
            database.execute(queries.ADD_RUN, row)
            database.write_rows(queries.ADD_INTENTS, written, {"run": run, "recorded": format_time(now), "repair": 0})
            database.write_rows(queries.MARK_RESENT, [{"key": key} for key in sorted(resent)])
            if spent is not None:
                use = {"digest": spent, "run": run, "now": format_time(now)}
                for statement in (queries.USE_APPROVAL, queries.KEEP_APPROVAL):
                    database.execute(statement, use)
            database.execute(queries.KEEP_SOURCE_APPROVAL, {"run": run, "now": format_time(now)})

        await self._write(work)

    async def add_intents(self, run: RunId, intents: Sequence[Intent]) -> None:
        """Record further intents of a run that has begun, in one commit: repairs, which are not in its plan."""

        def work(database: connection.Connection) -> None:
            first = len(database.query(queries.RUN_INTENTS, {"run": run}))
            placed = {"run": run, "recorded": format_time(self._now()), "repair": 1}
            database.write_rows(queries.ADD_INTENTS, row_codec.intents(intents, first=first), placed)

        await self._write(work)

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        """Record outcomes in one commit.

        The same outcome once more is harmless. An unknown outcome may replace any other, and any other an unknown one;
        everything else is refused, and the whole group with it.
        """
        outcomes = row_codec.outcomes(group)

        def work(database: connection.Connection) -> None:
            erase = sql_names.tombstones(database).eraser()
            rows = [
                {**row, "message": erase(row["message"] or "") or row["message"], "account": database.account}
                for row in outcomes
            ]
            if database.write_rows(queries.RECORD, rows, {"settled": format_time(self._now())}) != len(rows):
                _require_recorded(database, rows)

        if outcomes:
            await self._write(work)

    async def finish(self, finished: Report, *, trigger: str) -> None:
        """Record the end of the run, and its report."""

        def work(database: connection.Connection) -> None:
            written = database.query(queries.RUN_INTENTS, {"run": finished.run})
            forgotten = sql_names.tombstones(database)
            database.allow_computing(len(written) + (len(finished.guarded.held) if finished.guarded else 0))
            row, lists = row_codec.finished(finished, trigger=trigger, written=written, forgotten=forgotten)
            if finished.guarded is not None:
                sql_names.keep(database, finished.guarded.people, forgotten, now=finished.finished)
                if finished.learned_rate is not None:
                    database.execute(queries.KEEP_LEARNED_RATE, {**row, "rate": finished.learned_rate})
            database.write_rows(queries.KEEP_LISTS, lists)
            if not database.execute(queries.FINISH_RUN, row):
                database.execute(queries.ADD_RUN, row)
            database.execute(queries.KEEP_SOURCE_APPROVAL, {"run": finished.run, "now": format_time(finished.finished)})

        await self._write(work)
        await self._run(self._writer.purge)

    async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        """Return the digests of all plans that have an approval that is valid and not used up."""
        rows = await self._ask(queries.APPROVALS, {"now": format_time(now)})
        return frozenset(row["digest"] for row in rows)

    async def resolutions(self) -> Resolutions:
        """Return what each reference resolved to."""
        return {row["reference"]: row["target"] for row in await self._ask(queries.RESOLUTIONS)}

    async def remember(self, resolutions: Resolutions) -> None:
        """Record what these references resolve to, if that is new."""
        known = await self.resolutions() if resolutions else {}
        stored = {row_codec.text(reference): target for reference, target in resolutions.items()}
        new = [{"reference": each, "target": target} for each, target in sorted(stored.items() - known.items())]

        def work(database: connection.Connection) -> None:
            forgotten = sql_names.tombstones(database)
            rows = [row for row in new if not forgotten.knows_address(row["reference"])]
            database.write_rows(queries.REMEMBER, rows, {"remembered": format_time(self._now())})

        if new:
            await self._write(work)

    async def source_records(self) -> Mapping[str, SourceRecord]:
        """Return how much each source said in earlier runs."""
        return {row["source"]: row_codec.source_record(row) for row in await self._ask(queries.SOURCES)}

    async def remember_sources(
        self, records: Mapping[str, SourceRecord], *, run: RunId, spent: str | None = None
    ) -> None:
        """Record how much sources said, and use up an approval, in one commit."""

        def work(database: connection.Connection) -> None:
            database.write_rows(queries.KEEP_SOURCES, row_codec.source_records(records))
            use = {"digest": spent, "run": run, "now": format_time(self._now())}
            if spent is not None and not database.execute(queries.USE_APPROVAL, use):
                database.execute(queries.ADD_USED_APPROVAL, use)

        await self._write(work)

    async def unconfirmed_writes(self, *, since: datetime.datetime) -> Mapping[row_codec.Write, int]:
        """Return how many writes of each change, in a row, were accepted but not seen by a reading."""
        return row_codec.unconfirmed(await self._ask(queries.UNCONFIRMED, {"since": format_time(since)}))

    async def refusals(self, drivers: Collection[DriverId]) -> Mapping[row_codec.Write, PastRefusals]:
        """Return the changes of these drivers whose newest write was refused, or accepted and never seen."""
        return row_codec.refusals(await self._ask_for(queries.REFUSALS, drivers))

    async def recent_changes(self, *, since: datetime.datetime) -> tuple[RecentChanges, ...]:
        """Return how many of our writes since then took effect or may have, for each run, fleet and action."""
        rows = await self._ask(queries.RECENT, {"since": format_time(since)})
        return tuple(map(row_codec.recent_changes, rows))

    async def latest(self, drivers: Collection[DriverId], *, most: int) -> Mapping[Membership, tuple[OwnWrite, ...]]:
        """Return our newest writes to each membership of these drivers that took effect."""
        return row_codec.latest(await self._ask_for(queries.LATEST, drivers, {"most": most}))

    async def newest_entry(self) -> datetime.datetime | None:
        """Return the time of the newest entry about a run."""
        times = [each for row in await self._ask(queries.NEWEST_ENTRY) for each in dict(row).values() if each]
        return row_codec.time(max(times)) if times else None

    async def absences(self) -> Mapping[Membership, datetime.datetime]:
        """Return since when each membership is absent from the sources."""
        rows = await self._ask(queries.ABSENCES)
        return {(DriverId(row["driver"]), FleetId(row["fleet"])): row_codec.time(row["since"]) for row in rows}

    async def note_absences(
        self,
        *,
        newly_absent: Collection[Membership],
        since: datetime.datetime,
        returned: Collection[Membership],
    ) -> None:
        """Record what is absent since then, and forget what has returned, in one commit."""

        def work(database: connection.Connection) -> None:
            database.write_rows(queries.END_ABSENCES, row_codec.memberships(returned))
            absent = row_codec.memberships(newly_absent)
            database.write_rows(queries.ADD_ABSENCES, absent, {"since": format_time(since)})

        await self._write(work)

    async def prune(self, *, before: datetime.datetime) -> None:
        """Delete old runs, if there are any."""
        then = {"before": format_time(before)}

        def work(database: connection.Connection) -> None:
            old = [dict(row) for row in database.query(queries.OLD_RUNS, then)]
            database.write_rows(queries.DELETE_INTENTS, old)
            database.write_rows(queries.DELETE_RUNS, old)
            database.execute(queries.DELETE_LISTS)
            database.execute(queries.DELETE_APPROVALS, then)
            database.execute(queries.DELETE_NAMES, then)

        if await self._ask(queries.OLD_RUNS, then):
            await self._write(work)

    async def _ask_for(
        self, statement: str, drivers: Collection[DriverId], parameters: row_codec.Row | None = None
    ) -> Sequence[row_codec.Row]:
        """Return the rows of a query about drivers, which it reads as `json_rows(:rows)`."""
        rows = connection.json_rows([{"driver": driver} for driver in sorted(drivers)])
        return await self._ask(statement, {**(parameters or {}), "rows": rows}) if drivers else ()


def _require_recorded(database: connection.Connection, rows: Sequence[row_codec.Row]) -> None:
    """Raise errors.JournalError unless every intent has this outcome by now."""
    found = {row["key"]: row for row in database.query(queries.OUTCOMES, {"rows": connection.json_rows(rows)})}
    for row in rows:
        if row["key"] not in found:
            raise JournalError(f"no intent in the journal has the idempotency key {row['key']}")
        known = found[row["key"]]
        if not row_codec.same_outcome(known, row):
            raise JournalError(
                f"the intent {row['key']} ended as {known['outcome']}, and cannot end as {row['outcome']} too"
            )
