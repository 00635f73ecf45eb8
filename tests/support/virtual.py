"""Fixtures for tests on a clock that jumps to the next event: no test sleeps."""

from collections.abc import Iterator

import pytest
import structlog
import trio.testing


@pytest.fixture
def anyio_backend(monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, object]]:
    """Run on virtual time with deterministic scheduling, as hypothesis-trio does."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    trio._core._run._r.seed(1)
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def log() -> Iterator[list[structlog.typing.EventDict]]:
    """Capture the log: printing thousands of lines would take longer than the test."""
    with structlog.testing.capture_logs() as lines:
        yield lines
