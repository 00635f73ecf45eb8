"""Gives the tests of worker/accounts a database on a real server."""

from tests.journal.conftest import postgres_host, postgresql_backend

__all__ = ["postgres_host", "postgresql_backend"]
