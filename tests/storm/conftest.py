"""Gives the storm a database on a real server."""

from tests.journal.conftest import postgres_host

__all__ = ["postgres_host"]
