"""`python -m tests.journal.form`: writes `worker/journal/form.sql` anew, from what the migrations make.

Neighbours: `test_migrations` sees that both are the same.
"""

import pathlib
import sqlite3
import tempfile
from collections.abc import Iterator

from worker.journal import address, database, glance


def made_by_migrations(path: pathlib.Path) -> Iterator[str]:
    """Make a journal by the migrations, and give the statements that would make the same."""
    journal = database.Database(address.parse(f"sqlite:///{path}"))
    journal.upgrade()
    journal.close()
    return statements(path)


def statements(path: pathlib.Path) -> Iterator[str]:
    """Give the statements that would make a journal like this one."""
    connection = sqlite3.connect(path)
    wanted = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'index', name"
    yield from (" ".join(sql.split()) for (sql,) in connection.execute(wanted))
    forms = "SELECT printf('INSERT INTO alembic_version VALUES (%Q)', version_num) FROM alembic_version"
    yield from (statement for (statement,) in connection.execute(forms))
    connection.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        text = ";\n".join(made_by_migrations(pathlib.Path(folder) / "journal.db"))
        glance.FORM.write_text(f"{text};\n", encoding="utf-8")
