"""The scripts that make the tables, and the package that carries them."""

import contextlib
import pathlib
import subprocess
import sys
import zipfile

import pytest

from tests.journal import backends, processes
from worker.core.model.errors import JournalError
from worker.journal import address, connection, migrations


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> backends.SqliteBackend | backends.PostgresBackend:
    """Return a place in each database."""
    found: backends.SqliteBackend | backends.PostgresBackend = request.getfixturevalue(f"{request.param}_backend")
    return found


def test_every_version_has_a_script_and_the_first_one_says_its_number() -> None:
    scripts = sorted(path.name for path in (processes.ROOT / "worker" / "journal" / "versions").iterdir())
    numbered = [name for name in scripts if not name.endswith(".postgresql.sql")]
    assert numbered == [f"{number:04}.sql" for number in range(1, migrations.NEWEST + 1)]
    assert {name.removesuffix(".postgresql.sql") + ".sql" for name in set(scripts) - set(numbered)} <= set(numbered)


def test_a_new_journal_is_of_the_newest_version(backend: backends.SqliteBackend | backends.PostgresBackend) -> None:
    with contextlib.closing(connection.connect(address.parse(backend.url))) as database:
        assert migrations.version(database) is None
        migrations.migrate(database)
        assert migrations.version(database) == migrations.NEWEST
        tables = {row["name"] for row in database.query(database.TABLES)}
    shared = {"cluster_accounts", "cluster_removed", "cluster_secret", "cluster_workers"}
    only = shared if isinstance(backend, backends.PostgresBackend) else set[str]()
    assert tables - only == {
        "absences",
        "accounts",
        "approvals",
        "fleets",
        "forgotten",
        "intents",
        "lists",
        "names",
        "pauses",
        "resolutions",
        "runs",
        "sources",
        "schema_version",
    }
    assert tables >= only


def test_an_older_journal_gets_what_is_new(backend: backends.SqliteBackend | backends.PostgresBackend) -> None:
    versions = processes.ROOT / "worker" / "journal" / "versions"
    names = ["0001.sql", *(["0001.postgresql.sql"] if isinstance(backend, backends.PostgresBackend) else [])]
    with contextlib.closing(connection.connect(address.parse(backend.url))) as database:
        for statement in ";\n".join((versions / name).read_text(encoding="utf-8") for name in names).split(";\n"):
            if statement.strip():
                database.execute(statement)
        assert migrations.version(database) == 1
        migrations.migrate(database)
        assert migrations.version(database) == migrations.NEWEST
        assert database.query("SELECT epoch FROM runs") == []


def test_every_key_begins_with_the_account(sqlite_backend: backends.SqliteBackend) -> None:
    with contextlib.closing(connection.connect(address.parse(sqlite_backend.url))) as database:
        migrations.migrate(database)
        indexes = database.query("""
            SELECT tables.name AS table_name, columns.name AS column_name
            FROM sqlite_master AS tables, pragma_index_list(tables.name) AS indexes,
            pragma_index_info(indexes.name) AS columns
            WHERE tables.type = 'table' AND columns.seqno = 0
        """)
    first = {(row["table_name"], row["column_name"]) for row in indexes}
    assert first - {("accounts", "name")} == {(table, "account") for table, _ in first if table != "accounts"}


def test_a_script_that_fails_leaves_nothing(backend: backends.SqliteBackend | backends.PostgresBackend) -> None:
    """DDL is in the transaction, in SQLite too: here the last table is there already."""
    with contextlib.closing(connection.connect(address.parse(backend.url))) as database:
        database.execute("CREATE TABLE absences (something INTEGER)")
        with pytest.raises(JournalError, match="already exists"):
            migrations.migrate(database)
        assert [row["name"] for row in database.query(database.TABLES)] == ["absences"]


OPEN = """
import worker
await journal.open()
await journal.aclose()
print(worker.__file__)
"""


def test_the_wheel_carries_the_scripts(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=processes.ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    shown = processes.run(OPEN, f"sqlite:///{tmp_path}/journal.db", folder=installed)
    assert pathlib.Path(shown.strip()) == installed / "worker" / "__init__.py"
