"""Fixtures for tests on a clock that jumps to the next thing to do: no test sleeps."""

from collections.abc import Iterator

import pytest
import structlog
import trio.testing


@pytest.fixture
def anyio_backend(monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, object]]:
    """Run on virtual time, and let tasks take turns in the same order every time, as hypothesis-trio does."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    trio._core._run._r.seed(1)
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def log() -> Iterator[list[structlog.typing.EventDict]]:
    """Catch what is logged: a thousand lines of weather would take longer than the weather."""
    with structlog.testing.capture_logs() as lines:
        yield lines
