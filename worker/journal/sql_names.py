"""What people are called, in the durable journal.

Invariant: a name is stored in one table only, so that it can be forgotten. Neighbours: `sql_journal` inherits this,
`sql_base` has the sessions, `forgetting` erases, `queries` has the statements.
"""

import datetime
import functools
from collections.abc import Collection, Iterable, Mapping

from worker.core.model.errors import JournalBusy
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.people import Person, clean
from worker.core.model.serialization import format_time
from worker.core.planning import references
from worker.journal import connection, forgetting, queries, row_codec, sql_base


class SqlNames(sql_base.SqlBase):
    """Implements registers.NameRegister."""

    async def names(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the names of those of these drivers and fleets that are known, sorted by id."""
        return await self._look_up(lambda database: look_up(database, ids)) or {}

    async def fleets(self) -> Mapping[FleetId, str]:
        """Return the known fleets with their names, sorted by id."""
        rows = await self._look_up_rows(queries.FLEETS)
        return dict(sorted((FleetId(row["fleet"]), clean(row["name"])) for row in rows))

    async def drivers_named(self, text: str, *, limit: int) -> tuple[DriverId, ...]:
        """Return drivers by a part of their name or address, or by the address that once referred to them."""
        wanted = row_codec.folded(text)

        def work(database: connection.Connection) -> tuple[DriverId, ...]:
            if not wanted:
                return ()
            reference = {"reference": row_codec.text(references.lower_ascii(text.strip()))}
            exact = [row["driver"] for row in database.query(queries.DRIVERS_CALLED, {"folded": wanted})]
            exact += [row["target"] for row in database.query(queries.DRIVERS_REFERRED_TO, reference)]
            pattern = {"pattern": queries.containing(wanted), "limit": limit}
            found = exact or [row["driver"] for row in database.query(queries.DRIVERS_NAMED, pattern)]
            return tuple(map(DriverId, list(dict.fromkeys(found))[:limit]))

        return await self._look_up(work) or ()

    async def forget(self, driver: DriverId, *, now: datetime.datetime) -> bool:
        """Erase a driver's name and addresses. Any process may; only the writer can remove the last traces."""
        work = functools.partial(forgetting.forget, driver=driver, now=now)
        try:
            await self._run(self._writer.open)
        except JournalBusy:
            await self._write_unlocked(work)
            return False
        await self._write(work)
        return await self._run(self._writer.purge)


def tombstones(database: connection.Connection) -> forgetting.Tombstones:
    """Return the people who were forgotten."""
    return forgetting.Tombstones(database.query(queries.FORGOTTEN))


def keep(
    database: connection.Connection,
    people: Mapping[DriverId, Person],
    forgotten: forgetting.Tombstones,
    *,
    now: datetime.datetime,
) -> None:
    """Store what Charge calls these people, except those who were forgotten."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    moments = {"seen": format_time(now), "today": format_time(today)}
    database.write_rows(queries.KEEP_NAMES, row_codec.names(people, forgotten), moments)


def look_up(database: connection.Connection, ids: Iterable[str]) -> Mapping[str, str]:
    """Return the names of those of these drivers and fleets that are known, sorted by id."""
    rows = connection.json_rows([{"id": row_codec.text(id)} for id in sorted(ids)])
    found = {row["id"]: clean(row["name"]) for row in database.query(queries.NAMES, {"rows": rows})}
    return dict(sorted((id, name) for id, name in found.items() if name))
