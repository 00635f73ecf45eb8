"""The journal's tables, alike in SQLite and PostgreSQL.

Invariants: an intent's outcome is filled in once (but for `unknown`, which may become known); a moment is text in UTC
with milliseconds, so that it sorts. Text has no length: what Charge sends must never be too long to be recorded.
Neighbours: `migrations` makes the tables, `database` writes them, `archive` and `lookups` ask.
"""

import sqlalchemy as sa

from worker.journal import lookups

metadata = sa.MetaData()

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("started", sa.Text, nullable=False, index=True),
    sa.Column("finished", sa.Text),
    sa.Column("result", sa.Text),
    sa.Column("exit_code", sa.Integer),
    sa.Column("outcomes", sa.Text),
    sa.Column("plan", sa.Text),
    sa.Column("plan_lists", sa.Text),
    sa.Column("report", sa.Text),
    sa.Column("report_lists", sa.Text),
)
"""One row a run, also of one that had nothing to write. `plan` and `report` are the documents of `--json`, the report
without its plan, both without the lists that they name; `outcomes` counts by name."""

lists = sa.Table(
    "lists",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
)
"""What plans and reports enumerate, named by what it says: what is held in every run is stored once. What no run names
any more goes with the last one; a foreign key would search all runs for each."""

sources = sa.Table(
    "sources",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.run"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("revision", sa.Text, nullable=False),
)
"""What each run read, in the order of the settings."""

intents = sa.Table(
    "intents",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("run", sa.ForeignKey("runs.run"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("recorded", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("driver", sa.Text, nullable=False),
    sa.Column("fleet", sa.Text, nullable=False),
    sa.Column("origin", sa.Text),
    sa.Column("row", sa.Text, nullable=False),
    sa.Column("settled", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("attempts", sa.Integer),
    sa.Column("request_id", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("message", sa.Text),
)
"""One row a write, under its idempotency key; `outcome` is null while nobody knows it. `row` is the fingerprint of the
source's row that asks for it, empty where none does."""

_UNSEEN = intents.c.code == sa.literal_column(f"'{lookups.UNSEEN}'")
"""As `lookups` asks for it; what the scripts in `migrations` say is written once and stays."""

sa.Index("ix_intents_run", intents.c.run, intents.c.position)
sa.Index("ix_intents_driver", intents.c.driver, intents.c.fleet)
sa.Index("ix_intents_fleet", intents.c.fleet)
sa.Index(
    "ix_intents_open",
    intents.c.run,
    sqlite_where=intents.c.outcome.is_(None),
    postgresql_where=intents.c.outcome.is_(None),
)
sa.Index(
    "ix_intents_unseen",
    intents.c.driver,
    sqlite_where=_UNSEEN,
    postgresql_where=_UNSEEN,
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("approved", sa.Text, nullable=False),
    sa.Column("until", sa.Text, nullable=False),
)
"""The plans whose held changes are allowed, until when."""

resolutions = sa.Table(
    "resolutions",
    metadata,
    sa.Column("reference", sa.Text, primary_key=True),
    sa.Column("driver", sa.Text, nullable=False),
    sa.Column("remembered", sa.Text, nullable=False),
)
"""Whom each reference led to when it was last used."""

absences = sa.Table(
    "absences",
    metadata,
    sa.Column("driver", sa.Text, primary_key=True),
    sa.Column("fleet", sa.Text, primary_key=True),
    sa.Column("since", sa.Text, nullable=False),
)
"""The memberships that the sources leave out and whose detaches wait, or waited, for the end of their grace."""
