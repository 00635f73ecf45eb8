"""Runs the tests of notifications on virtual time, and captures the log."""

from collections.abc import Iterator

import pytest
import structlog
import trio.testing


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run on virtual time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def log() -> Iterator[list[structlog.typing.EventDict]]:
    """Capture the log."""
    with structlog.testing.capture_logs() as lines:
        yield lines
