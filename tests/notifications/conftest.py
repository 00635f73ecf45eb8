"""The tests of notices run on a clock that jumps to the next thing to do, and catch what is logged."""

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
    """Catch what is logged."""
    with structlog.testing.capture_logs() as lines:
        yield lines
