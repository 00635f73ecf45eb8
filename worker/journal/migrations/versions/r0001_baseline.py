"""The first form of the journal."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "runs",
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("started", sa.Text, nullable=False),
        sa.Column("finished", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("exit_code", sa.Integer),
        sa.Column("outcomes", sa.Text),
        sa.Column("plan", sa.Text),
        sa.Column("plan_lists", sa.Text),
        sa.Column("report", sa.Text),
        sa.Column("report_lists", sa.Text),
    )
    op.create_index("ix_runs_started", "runs", ["started"])
    op.create_table(
        "lists",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "sources",
        sa.Column("run", sa.Text, sa.ForeignKey("runs.run"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
    )
    op.create_table(
        "intents",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("run", sa.Text, sa.ForeignKey("runs.run"), nullable=False),
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
    op.create_index("ix_intents_run", "intents", ["run", "position"])
    op.create_index("ix_intents_driver", "intents", ["driver", "fleet"])
    op.create_index("ix_intents_fleet", "intents", ["fleet"])
    unsettled = sa.text("outcome IS NULL")
    op.create_index("ix_intents_open", "intents", ["run"], sqlite_where=unsettled, postgresql_where=unsettled)
    unseen = sa.text("code = 'not_converging'")
    op.create_index("ix_intents_unseen", "intents", ["driver"], sqlite_where=unseen, postgresql_where=unseen)
    op.create_table(
        "approvals",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("approved", sa.Text, nullable=False),
        sa.Column("until", sa.Text, nullable=False),
    )
    op.create_table(
        "resolutions",
        sa.Column("reference", sa.Text, primary_key=True),
        sa.Column("driver", sa.Text, nullable=False),
        sa.Column("remembered", sa.Text, nullable=False),
    )
    op.create_table(
        "absences",
        sa.Column("driver", sa.Text, primary_key=True),
        sa.Column("fleet", sa.Text, primary_key=True),
        sa.Column("since", sa.Text, nullable=False),
    )
