"""Edges of the audit trail, on a journal in memory. `tests/e2e/test_audit` tests the command."""

import csv
import json
from typing import Any

import pytest

from tests.journal import journal_factories
from tests.support import memory_journal
from worker.cli import audit
from worker.core.model.outcomes import Refused

pytestmark = pytest.mark.anyio


@pytest.fixture
async def record() -> memory_journal.MemoryJournal:
    """Return a journal with a refused change, a run that was cut off before any outcome, and an idle run."""
    journal = memory_journal.MemoryJournal()
    refused = Refused(1, "policy_blocked", "=cmd\r\nnot allowed", None)
    first, cut_off = journal_factories.change("ann"), journal_factories.change("bob")
    await journal_factories.whole(journal, [first], refused, run="run_1", at=journal_factories.NOON)
    await journal_factories.begin(journal, [cut_off], run=journal_factories.APRIL, at=journal_factories.minutes(5))
    await journal_factories.whole(journal, run="run_3", at=journal_factories.minutes(10))
    return journal


async def _printed(
    record: memory_journal.MemoryJournal, capsys: pytest.CaptureFixture[str], since: str | None = None
) -> list[dict[str, Any]]:
    assert await audit._audit(record, since=since, form="jsonl") == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_of_a_run_that_was_cut_off_the_changes_are_listed_without_an_outcome(
    record: memory_journal.MemoryJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = await _printed(record, capsys)
    assert [(line["record"], line["run"]) for line in lines] == [
        ("run", "run_1"),
        ("change", "run_1"),
        ("run", "run_april"),
        ("change", "run_april"),
        ("run", "run_3"),
    ]
    assert (lines[3]["driver"], lines[3]["outcome"], lines[3]["attempts"]) == ("drv_bob", None, 0)


@pytest.mark.parametrize(
    ("since", "runs"),
    [
        ("2026-12-01T12:00:00Z", ["run_1", "run_april", "run_3"]),
        ("2026-12-01T12:05:00Z", ["run_april", "run_3"]),
        ("2026-12-01T12:05:01Z", ["run_3"]),
        ("2026-12-01T12:10:01Z", []),
        ("run_april", ["run_3"]),
    ],
)
async def test_it_begins_with_the_run_of_that_moment_or_after_the_one_that_is_named(
    record: memory_journal.MemoryJournal, capsys: pytest.CaptureFixture[str], since: str, runs: list[str]
) -> None:
    assert [line["run"] for line in await _printed(record, capsys, since) if line["record"] == "run"] == runs


async def test_a_cell_has_one_line_and_what_is_missing_is_empty(
    record: memory_journal.MemoryJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    await audit._audit(record, since=None, form="csv")
    [_, change, *_] = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (change["message"], change["code"], change["request_id"]) == ("'=cmd  not allowed", "policy_blocked", "")
