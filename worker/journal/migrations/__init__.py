"""The scripts that bring a journal to the present form, in Alembic's layout; `upgrade` runs them.

A new form is a new file in `versions`, its name in `revisions`, and the tables in `schema` as they are then; tests hold
the three together. A script that has been released never changes.
"""
