"""Writes the metrics of one run to a file, for the textfile collector of Prometheus' node exporter.

Invariant: a reader finds the old file or the new one, never a part: the file is replaced at once. Neighbours: `once`
calls this, `web.metrics_collector` has the gauges, which are those of the service.
"""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import core, exposition, registry

from worker.core.model.errors import JournalError
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.service import state
from worker.web import metrics_collector

if TYPE_CHECKING:
    from worker.service import composition

_SEARCHED_RUNS = 1000
"""How many of the newest runs are searched for one that succeeded."""


class _RunCollector(registry.Collector):
    """Collects what happened in the last run. The counters of the service would begin at 0 in every run of a job."""

    def __init__(self, last: Report) -> None:
        self._last = last

    def collect(self) -> Iterator[core.Metric]:
        """Yield every gauge."""
        seconds = max(0.0, (self._last.finished - self._last.started).total_seconds())
        yield metrics_collector.single("last_run_duration_seconds", "Duration of the last run.", seconds)
        yield metrics_collector.single("last_run_exit_code", "Exit code of the last run.", self._last.exit_code)
        counts = [((outcome,), float(count)) for outcome, count in self._last.counts.items()]
        text = "Changes of the last run, by outcome."
        yield metrics_collector.gauge("last_run_changes", text, counts, labels=("outcome",))


async def write(
    path: pathlib.Path, account: "composition.AccountRuntime", job: state.ServiceState, last: Report
) -> None:
    """Write the metrics after a run that `job` has recorded. Raises OSError."""
    job.journal_bytes = await account.journal_bytes()
    if job.last_success is None:
        with contextlib.suppress(JournalError):
            runs = await account.record.runs(limit=_SEARCHED_RUNS)
            job.last_success = next((past.finished for past in runs if past.exit_code == 0), None)
    _replace(path, _text(job.snapshot(account), last))


def _text(present: status.Status, last: Report) -> bytes:
    collected = prometheus_client.CollectorRegistry()
    gauges = metrics_collector.SnapshotCollector()
    gauges.present = present
    collected.register(gauges)
    collected.register(_RunCollector(last))
    return exposition.generate_latest(collected)


def _replace(path: pathlib.Path, content: bytes) -> None:
    """Replace a file at once by one that every user may read: the exporter has a user of its own."""
    path = path.resolve()  # a link stays one
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        pathlib.Path(name).replace(path)
    except BaseException:
        pathlib.Path(name).unlink(missing_ok=True)
        raise
