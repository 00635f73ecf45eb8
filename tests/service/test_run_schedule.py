"""When an account runs next; what one account does is in test_scheduler.py."""

import random

import pytest

from tests.support import clocks, doubles
from worker.core.model.errors import JournalError, Unreachable
from worker.core.model.identifiers import RunId
from worker.core.model.report import Report, Traffic
from worker.service import run_schedule
from worker.settings import model, source_kinds

NOON = clocks.NOON


def _settings(interval: float) -> model.Settings:
    return model.Settings(sources=(source_kinds.FileSource(path="x.yaml"),), sync=model.Sync(interval_seconds=interval))


def _failed(error: JournalError | Unreachable, *, reads: int = 0) -> Report:
    return Report(RunId("run_1"), NOON, NOON, None, error=error, traffic=Traffic(reads=reads))


@pytest.mark.parametrize("interval", [60, 300, 3600])
def test_after_an_outage_each_of_many_accounts_runs_within_one_interval(interval: float) -> None:
    """Charge is away for 3 minutes: no account waits longer for its next run than it always does."""
    settings, healed = _settings(interval), 180.0
    for _ in range(300):
        at, last = random.uniform(0, min(interval, healed)), run_schedule.LastRun()
        while at < healed:
            failures = run_schedule.failures_after(_failed(Unreachable("away")), last.failures)
            last = run_schedule.LastRun(failures)
            at += run_schedule.next_due(last, settings, now=NOON, retry_spread=0.5)[0]
        assert at <= healed + interval


def test_one_account_alone_spares_charge_for_up_to_five_minutes() -> None:
    delay, trigger = run_schedule.next_due(run_schedule.LastRun(failures=20), _settings(60), now=NOON, retry_spread=0.0)
    assert (delay, trigger) == (300, "retry")


def test_a_database_that_is_away_makes_no_growing_pauses() -> None:
    """Charge was asked nothing, so there is nothing to spare it."""
    assert run_schedule.failures_after(_failed(JournalError("away")), 7) == 1
    assert run_schedule.failures_after(_failed(JournalError("away"), reads=1), 7) == 8


def test_a_run_that_did_not_fail_ends_the_row_of_failures() -> None:
    finished = Report(RunId("run_1"), NOON, NOON, doubles.guarded(()))
    assert run_schedule.failures_after(finished, 7) == 0
