"""What a metrics file says of the last run. `tests/e2e/test_metrics_file` tests the file."""

import dataclasses
import datetime

import pytest

from tests.journal import journal_factories
from worker.cli import metrics_file


@pytest.mark.parametrize(("seconds", "shown"), [(0.25, 0.25), (90, 90), (0, 0), (-3, 0)])
def test_a_run_lasted_as_long_as_it_did_and_never_less_than_no_time(seconds: float, shown: float) -> None:
    """A clock that is set back must not make a run negative."""
    ended = journal_factories.ended()
    report = dataclasses.replace(ended, finished=ended.started + datetime.timedelta(seconds=seconds))
    samples = [each for metric in metrics_file._RunCollector(report).collect() for each in metric.samples]
    assert [each.value for each in samples if each.name.endswith("duration_seconds")] == [shown]
    assert [each.value for each in samples if each.name.endswith("exit_code")] == [report.exit_code]
    outcomes = {each.labels["outcome"]: each.value for each in samples if each.labels}
    assert outcomes == dict(report.counts)
