"""Alembic's way in: runs the scripts on the connection, and in the transaction, that `upgrade` gives.

Invariant: no address and no logging of its own. Neighbours: `upgrade` calls it through Alembic.
"""

from alembic import context

from worker.journal import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    transactional_ddl=True,  # also on SQLite: the transaction is begun by hand there
)
with context.begin_transaction():
    context.run_migrations()
