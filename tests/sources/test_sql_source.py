"""Rows of databases: all of one moment, or an error."""

import abc
import contextlib
import pathlib
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.journal import postgres
from worker.core.model.errors import SourceError
from worker.sources import completeness, document_reader, document_source, positions, row_mapping, sql_source

PATIENT = 60.0
SECRET = "s3cr3t-of-the-source"
QUERY = "SELECT email AS driver, depot AS fleet FROM people ORDER BY email"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


class Server(abc.ABC):
    """A database of one kind."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abc.abstractmethod
    def tell(self, *statements: str) -> None:
        """Run the statements in one transaction."""


class Sqlite(Server):
    def tell(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as connection, connection:
            for statement in statements:
                connection.execute(statement)


class Postgres(Server):
    def tell(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres.server() as folder:
        yield f"postgresql://postgres:{SECRET}@/postgres?host={folder}"


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Server:
    if request.param == "sqlite":
        found: Server = Sqlite(f"sqlite:///{tmp_path / 'people with spaces?.db'}")
    else:
        found = Postgres(request.getfixturevalue("postgres_url"))
    found.tell(
        "DROP TABLE IF EXISTS people",
        "CREATE TABLE people (email text, depot text, number integer)",
        "INSERT INTO people VALUES ('a@b', 'Paris', 1), ('c@d', 'Lyon, \"Sud\"', 2)",
    )
    return found


def source(
    url: str, folder: pathlib.Path, query: str = QUERY, *, revision: str = "", timeout: float = PATIENT, **options: Any
) -> document_source.DocumentSource:
    (folder / "url").write_text(url)
    database = sql_source.Database(folder / "url", folder, timeout)
    fetcher = sql_source.SqlFetcher(database, query, revision, "hr")
    reading = document_reader.DocumentOptions(delimiter="comma", **options)
    return document_source.DocumentSource("sql", "hr", fetcher, reading)


def failure(reading: document_source.DocumentSource, code: str) -> str:
    with pytest.raises(SourceError) as caught:
        anyio.run(reading.read)
    assert caught.value.code == code
    assert SECRET not in f"{caught.value!r} {caught.value.__context__!r} {reading!r}"
    return caught.value.message


def test_every_row_is_read(server: Server, tmp_path: pathlib.Path) -> None:
    reading = anyio.run(source(server.url, tmp_path).read)
    assert [(str(row.driver), str(row.fleet)) for row in reading.rows] == [("a@b", '"Paris"'), ("c@d", '"Lyon, "Sud""')]
    assert (str(reading.rows[1].origin), reading.source.proof) == ("hr:3:1", "transaction")


def test_columns_are_mapped_as_those_of_a_table(server: Server, tmp_path: pathlib.Path) -> None:
    mapping = row_mapping.RowMapping("employee_id={Number}", "{depot}", fleets={"Paris": "Vans"}, other_fleets="ignore")
    reading = anyio.run(source(server.url, tmp_path, "SELECT number, depot FROM people;", rows=mapping).read)
    assert [str(row.driver) for row in reading.rows] == ["employee_id=1"]


def test_an_empty_result_is_an_error(server: Server, tmp_path: pathlib.Path) -> None:
    server.tell("DELETE FROM people")
    failure(source(server.url, tmp_path), "source_empty")


def test_fewer_rows_than_demanded_are_incomplete(server: Server, tmp_path: pathlib.Path) -> None:
    failure(source(server.url, tmp_path, checks=completeness.Completeness(min_rows=3)), "source_incomplete")


def test_all_rows_are_of_one_moment(server: Server, tmp_path: pathlib.Path) -> None:
    """Two queries of one session, between which another client commits."""
    server.tell("PRAGMA journal_mode = wal" if isinstance(server, Sqlite) else "SELECT 1")
    fetcher = source(server.url, tmp_path).fetcher
    assert isinstance(fetcher, sql_source.SqlFetcher)
    session = fetcher._connected()
    with contextlib.closing(session):
        before = list(session.query("SELECT count(*) FROM people")[1])
        server.tell("DELETE FROM people")
        _, rows = session.query("SELECT count(*) FROM people")
        assert list(rows) == before == [(2,)]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM people",
        "INSERT INTO people VALUES ('x@y', 'Paris', 3)",
        "SELECT email AS driver, depot AS fleet FROM people; COMMIT; DELETE FROM people",
        "SELECT email AS driver, depot AS fleet FROM people; DELETE FROM people",
    ],
)
def test_nothing_can_be_written(statement: str, server: Server, tmp_path: pathlib.Path) -> None:
    failure(source(server.url, tmp_path, statement), "source_invalid")
    assert len(anyio.run(source(server.url, tmp_path).read).rows) == 2


@pytest.mark.parametrize(
    ("query", "problem", "named"),
    [
        ("SELECT 1.5e0 AS driver, 'a' AS fleet", 'column "driver" has values of type float: cast it to text', ""),
        ("SELECT nonsense FROM people", "the database says: ", "nonsense"),
        ("SELECT * FROM nowhere", "the database says: ", "nowhere"),
        ("SELEC", "the database says: ", "SELEC"),
        ("SELECT 1; SELECT 2", "", ""),
    ],
)
def test_a_query_that_cannot_be_read_is_an_error(
    query: str, problem: str, named: str, server: Server, tmp_path: pathlib.Path
) -> None:
    if isinstance(server, Postgres):
        query = query.replace("1.5e0", "CAST(1.5 AS float)")
    message = failure(source(server.url, tmp_path, query), "source_invalid")
    assert problem in message
    assert named in message.partition("the database says: ")[2]


def test_null_is_an_empty_cell(server: Server, tmp_path: pathlib.Path) -> None:
    query = 'SELECT email AS driver, depot AS fleet, NULL AS "until" FROM people'
    assert all(row.ends is None for row in anyio.run(source(server.url, tmp_path, query).read).rows)


@pytest.mark.integration
def test_a_slow_query_ends_at_its_deadline(server: Server, tmp_path: pathlib.Path) -> None:
    query = ENDLESS if isinstance(server, Sqlite) else "SELECT 'a', pg_sleep(600)"
    reading = source(server.url, tmp_path, query, timeout=-sql_source._CONNECT_SECONDS + 0.5)
    if isinstance(server, Postgres):
        reading = source(server.url, tmp_path, query, timeout=0.5)
    assert "statement" in failure(reading, "source_timeout")


def test_a_server_ends_a_statement_itself_whose_client_is_no_more(postgres_url: str) -> None:
    """A client that vanished cannot interrupt it."""
    from worker.sources import sql_postgres

    session = sql_postgres.connect(postgres_url, 0.2)
    with contextlib.closing(session), pytest.raises(sql_source.SqlError) as caught:
        list(session.query("SELECT pg_sleep(60)")[1])
    assert caught.value.code == "source_timeout"


def test_a_cancelled_query_ends_in_the_database(server: Server, tmp_path: pathlib.Path) -> None:
    query = ENDLESS if isinstance(server, Sqlite) else "SELECT 'a', pg_sleep(600)"

    async def cancel() -> None:
        fetcher = source(server.url, tmp_path, query).fetcher
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fetcher.fetch)
            for _ in range(1000):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    anyio.run(cancel)
    for thread in threading.enumerate():
        if "AnyIO" in thread.name:
            thread.join(PATIENT)
            assert not thread.is_alive()


@pytest.mark.integration
def test_a_result_without_end_is_too_large(server: Server, tmp_path: pathlib.Path) -> None:
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} AS driver, 'a' AS fleet FROM n"
    if isinstance(server, Sqlite):
        query = many.format("hex(zeroblob(100000))")
    else:
        query = "SELECT repeat('a', 200000) AS driver, 'a' AS fleet FROM generate_series(1, 100000000)"
    assert f"larger than {positions.MAX_BYTES >> 20} MiB" in failure(
        source(server.url, tmp_path, query), "source_too_large"
    )


class TestPeek:
    def test_it_changes_with_what_the_query_for_it_returns(self, server: Server, tmp_path: pathlib.Path) -> None:
        reading = source(server.url, tmp_path, revision="SELECT count(*), max(number) FROM people")
        before = anyio.run(reading.peek)
        assert before == anyio.run(reading.peek) is not None
        server.tell("DELETE FROM people WHERE number = 1")
        assert anyio.run(reading.peek) != before

    def test_without_a_query_there_is_no_cheap_revision(self, server: Server, tmp_path: pathlib.Path) -> None:
        assert anyio.run(source(server.url, tmp_path).peek) is None

    def test_a_query_that_returns_nothing_is_an_error(self, server: Server, tmp_path: pathlib.Path) -> None:
        reading = source(server.url, tmp_path, revision="SELECT 1 FROM people WHERE number = 9")
        with pytest.raises(SourceError, match="revision_query returns no row"):
            anyio.run(reading.peek)


@pytest.mark.parametrize(
    ("url", "code", "problem"),
    [
        ("", "source_unauthorized", "is empty"),
        (f"mysql://u:{SECRET}@h/d", "source_invalid", "contains no address of a database"),
        ("sqlite:///", "source_invalid", "contains no address of a database"),
        ("sqlite:///nowhere.db", "source_unreachable", "unable to open database file"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/d", "source_unreachable", "no connection could be made"),
        (f"postgresql://u:{SECRET}@db.invalid:port/d", "source_unreachable", "no connection could be made"),
        (f"postgresql://u:{SECRET}@db.invalid/d?nonsense={SECRET}", "source_invalid", "is not valid"),
    ],
)
def test_a_database_that_cannot_be_reached_is_an_error(
    url: str, code: str, problem: str, tmp_path: pathlib.Path
) -> None:
    assert problem in failure(source(url, tmp_path), code)


def test_a_server_that_refuses_how_a_session_begins_is_an_error(postgres_url: str, tmp_path: pathlib.Path) -> None:
    server = Postgres(postgres_url)
    server.tell("DROP ROLE IF EXISTS narrow", "CREATE ROLE narrow LOGIN")
    server.tell("REVOKE EXECUTE ON FUNCTION set_config FROM PUBLIC")
    try:
        narrow = source(postgres_url.replace("//postgres:", "//narrow:"), tmp_path)
        assert "permission denied" in failure(narrow, "source_unauthorized")
    finally:
        server.tell("GRANT EXECUTE ON FUNCTION set_config TO PUBLIC")


def test_a_relative_path_of_sqlite_is_relative_to_the_settings(tmp_path: pathlib.Path) -> None:
    Sqlite(f"sqlite:///{tmp_path / 'people.db'}").tell("CREATE TABLE p AS SELECT 'a@b' AS driver, 'Paris' AS fleet")
    assert len(anyio.run(source("sqlite:///people.db\n", tmp_path, "SELECT * FROM p").read).rows) == 1


def test_a_damaged_file_is_incomplete(tmp_path: pathlib.Path) -> None:
    (tmp_path / "people.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    failure(source("sqlite:///people.db", tmp_path), "source_incomplete")
