"""Sets up every session of tests: a clean environment, the Hypothesis profiles, and the markers.

Invariant: nothing that the person running the tests has exported for an account of their own reaches a test.
Neighbours: README.md explains profiles and markers; `support.command` writes down the environment of the commands that
tests start; `support.laws` scales the number of examples with the profile.
"""

import gc
import os
import pathlib
from collections.abc import Iterable, Iterator

import hypothesis
import pytest
import structlog
from hypothesis import database

from tests.support import loopback

ROOT = pathlib.Path(__file__).parents[1]

TEST_VARIABLES = "FLEET_SYNC_TEST_"
"""Prefix of the variables that are meant for the tests."""

MARKERS = {
    "browser/": "real",
    "charge/test_hostile_server.py": "integration",
    "charge/test_secure_network.py": "integration",
    "core/test_rate_of_jobs.py": "integration",
    "deploy/": "real",
    "docs/": "integration",
    "e2e/": "integration",
    "engine/test_approvals.py": "integration",
    "engine/test_clock.py": "integration",
    "engine/test_faults.py": "integration",
    "engine/test_flapping.py": "integration",
    "engine/test_forbidden_writes.py": "integration",
    "engine/test_grace.py": "integration",
    "engine/test_learned_rate.py": "integration",
    "engine/test_moved_references.py": "integration",
    "engine/test_proof.py": "integration",
    "engine/test_recovery.py": "integration",
    "engine/test_refusal_backoff.py": "integration",
    "engine/test_stories.py": "integration",
    "engine/test_suspension.py": "integration",
    "engine/test_unclear_writes.py": "integration",
    "engine/test_undo.py": "integration",
    "engine/test_unknown.py": "integration",
    "engine/test_unseen_writes.py": "integration",
    "engine/test_window.py": "integration",
    "examples/": "real",
    "journal/test_crashes.py": "integration",
    "journal/test_migrations.py": "integration",
    "journal/test_sqlite.py": "integration",
    "journal/test_unusable.py": "integration",
    "sandbox/test_server.py": "integration",
    "service/test_account_supervisor.py": "integration",
    "service/test_cluster_defaults.py": "integration",
    "service/test_network.py": "integration",
    "settings/test_key_command.py": "integration",
    "simulation/": "integration",
    "sources/test_command_source.py": "integration",
    "sources/test_contract.py": "integration",
    "sources/test_git_source.py": "integration",
    "sources/test_many_at_once.py": "integration",
    "sources/test_object_source.py": "integration",
    "sources/test_processes.py": "integration",
    "storm/test_moved.py": "real",
    "storm/test_outage.py": "real",
    "web/test_server.py": "integration",
    "web/test_throttle.py": "integration",
}
"""The marker of all tests of a folder or file. A file whose name says so, and what takes a database, is real anyway."""

hypothesis.settings.register_profile("fast", max_examples=10, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile(
    "nightly",
    max_examples=500,
    deadline=None,
    database=database.DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples"),
    print_blob=True,
)
hypothesis.settings.load_profile("ci")  # unless --hypothesis-profile names another


def pytest_configure() -> None:
    """Keep every process that runs tests on loopback, without an account, and without collecting garbage meanwhile."""
    gc.disable()
    loopback.install()
    for name in tuple(os.environ):
        if name.startswith(("CHARGE_", "FLEET_SYNC_")) and not name.startswith(TEST_VARIABLES):
            del os.environ[name]


def _marker(path: pathlib.Path) -> str | None:
    """Return what marks all tests of this file."""
    if path.name.endswith(("_postgres.py", "_real.py")):
        return "real"
    name = path.relative_to(ROOT / "tests").as_posix()
    return next((marker for beginning, marker in MARKERS.items() if name.startswith(beginning)), None)


def pytest_ignore_collect(collection_path: pathlib.Path, config: pytest.Config) -> bool | None:
    """Do not even import a file of tests that `-m "not …"` would all leave out: a second for each process."""
    excluded = config.getoption("markexpr").split(" and ")
    is_excluded = collection_path.suffix == ".py" and f"not {_marker(collection_path)}" in excluded
    return True if is_excluded else None


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Mark the tests whose file, fixtures or parameters say what they need."""
    for item in items:
        if marker := _marker(item.path):
            item.add_marker(marker)
        fixtures = getattr(item, "fixturenames", ())
        if "postgres" in item.nodeid or not {"postgres_host", "postgres_url"}.isdisjoint(fixtures):
            item.add_marker("real")
        callspec = getattr(item, "callspec", None)
        if callspec and callspec.params.get("anyio_backend") == "trio":
            item.add_marker("second_loop")
            if item.get_closest_marker("integration"):  # these are the slowest, and the program runs on asyncio
                item.add_marker("slow")


@pytest.fixture(autouse=True)
def log_settings() -> Iterator[None]:
    """Keep a command that a test runs in this process from setting the log of the tests after it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives as long as the session: it takes a fifth of the time otherwise."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()
