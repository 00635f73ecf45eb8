"""The scripts that make the tables, the tables as the program knows them, and the package that carries both."""

import pathlib
import subprocess
import sys
import zipfile

import pytest
import sqlalchemy as sa
from alembic import autogenerate, config, script
from alembic.runtime import migration

from tests.journal import backends, form, processes
from worker.journal import address, engines, glance, keeper, revisions, schema


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> backends.SqliteBackend | backends.PostgresBackend:
    """Give a place in each database."""
    found: backends.SqliteBackend | backends.PostgresBackend = request.getfixturevalue(f"{request.param}_desk")
    return found


def test_the_scripts_make_the_tables_that_the_program_knows(
    backend: backends.SqliteBackend | backends.PostgresBackend,
) -> None:
    place = address.parse(backend.url)
    made = keeper.Keeper(place, clock=backend.clock)
    made.open()
    made.close()
    engine = engines.make(place)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = migration.MigrationContext.configure(connection, opts=options)
        assert autogenerate.compare_metadata(context, schema.metadata) == []
        assert context.get_current_revision() == revisions.HEAD
        partial = {
            each["name"]: [str(where) for where in each["dialect_options"].values() if where is not None]
            for each in sa.inspect(connection).get_indexes("intents")
        }
        assert "outcome IS NULL" in "".join(partial["ix_intents_open"])
        assert "not_converging" in "".join(partial["ix_intents_unseen"])
    engine.dispose()


def test_a_new_file_is_made_as_the_migrations_would_make_it(tmp_path: pathlib.Path) -> None:
    """Without SQLAlchemy and Alembic, which cost half a second and 25 MB; `python -m tests.journal.form` writes it."""
    made = tmp_path / "made.db"
    looked = glance.look(address.parse(f"sqlite:///{made}"), made, make=True)
    assert looked is not None
    looked.close()
    assert list(form.statements(made)) == list(form.made_by_migrations(tmp_path / "migrated.db"))


def test_the_comparison_sees_a_table_that_is_missing(sqlite_desk: backends.SqliteBackend) -> None:
    engine = engines.make(address.parse(sqlite_desk.url))
    with engine.connect() as connection:
        context = migration.MigrationContext.configure(connection)
        assert len(autogenerate.compare_metadata(context, schema.metadata)) >= len(schema.metadata.tables)
    engine.dispose()


def test_every_script_is_known_by_its_name_in_order() -> None:
    settings = config.Config()
    settings.set_main_option("script_location", "worker.journal:migrations")
    settings.set_main_option("path_separator", "newline")
    folder = script.ScriptDirectory.from_config(settings)
    assert tuple(each.revision for each in folder.walk_revisions())[::-1] == revisions.REVISIONS


def test_a_script_that_fails_leaves_nothing(backend: backends.SqliteBackend | backends.PostgresBackend) -> None:
    """DDL is in the transaction, in SQLite too: here the last table is there already."""
    place = address.parse(backend.url)
    engine = engines.make(place)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE resolutions (something INTEGER)"))
    broken = keeper.Keeper(place, clock=backend.clock)
    with pytest.raises(Exception, match="already exists"):
        broken.open()
    broken.close()
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["resolutions"]
    engine.dispose()


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
