"""The journal's tables.

Invariant: rows are only ever added, and an intent's outcome filled in once. Neighbours: `sql` writes them.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run", sa.String(64), primary_key=True),
    sa.Column("trigger", sa.String(32), nullable=False),
    sa.Column("started", sa.String(32), nullable=False, index=True),
    sa.Column("finished", sa.String(32)),
    sa.Column("result", sa.String(16)),
    sa.Column("exit_code", sa.Integer),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("report", sa.Text),
)
"""One row a run that meant to write; `plan` and `report` are the JSON documents of the `--json` output."""

intents = sa.Table(
    "intents",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("run", sa.ForeignKey("runs.run"), nullable=False, index=True),
    sa.Column("action", sa.String(8), nullable=False),
    sa.Column("driver", sa.String(64), nullable=False, index=True),
    sa.Column("fleet", sa.String(64), nullable=False),
    sa.Column("origin", sa.Text),
    sa.Column("outcome", sa.String(16)),
    sa.Column("attempts", sa.Integer),
    sa.Column("request_id", sa.String(128)),
    sa.Column("code", sa.String(128)),
    sa.Column("message", sa.Text),
)
"""One row a write, under its idempotency key; `outcome` is null until it is known."""
