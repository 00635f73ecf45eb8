"""Fixtures for the tests of pages: the sandbox that the README starts."""

from collections.abc import Iterator

import pytest

from tests.support import command


@pytest.fixture
def sandbox() -> Iterator[tuple[command.Running, str]]:
    """Start the sandbox of the README on a free port; yield it and the first line that it prints."""
    with command.started("sandbox", "--port", "0") as running:
        assert running.process.stdout is not None
        yield running, running.process.stdout.readline()
