"""Gives the tests of worker/dispatch a database on a real server; the queue runs on asyncio only."""

import pytest

from tests.journal.conftest import postgres_host, postgresql_backend

__all__ = ["anyio_backend", "postgres_host", "postgresql_backend"]


@pytest.fixture
def anyio_backend() -> str:
    """Procrastinate is built on asyncio."""
    return "asyncio"
