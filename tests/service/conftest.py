"""Runs the tests of worker/service on virtual time."""

from tests.support.virtual import anyio_backend, log

__all__ = ["anyio_backend", "log"]
