"""What Prometheus reads: counters that the service feeds, and gauges that are read off a snapshot.

Invariant: no label grows without bound, and no series comes twice. Neighbours: `exposition` reads the snapshot, `app`
serves what `Metrics.render` gives, `docs/operations.md` has the alert rules that rely on these names.
"""

from typing import Final

import prometheus_client
from prometheus_client import exposition as prometheus_exposition

from worker.core.model.outcomes import OUTCOME_NAMES
from worker.core.model.plan import Action
from worker.core.model.report import Report, RunResult
from worker.core.monitoring import status
from worker.web import metrics_collector

TRIGGERS: Final = (*status.Trigger, "other")
OPERATIONS: Final = ("list_drivers", "list_fleets", "retrieve_driver", "retrieve_fleet", "attach", "detach")

_RUN_BUCKETS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """Everything that is counted in this process; to be made once."""

    def __init__(self) -> None:
        """Start at nought. Turns `_created` series off for this process: they double what is scraped, unread."""
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = prometheus_client.CollectorRegistry()
        self._snapshot = metrics_collector.SnapshotCollector()
        self._registry.register(self._snapshot)
        self._runs = self._counter("runs_total", "Runs that ended, by result and by what began them.", "result trigger")
        self._duration = prometheus_client.Histogram(
            "fleet_sync_run_duration_seconds",
            "How long runs took, from reading to report.",
            buckets=_RUN_BUCKETS,
            registry=self._registry,
        )
        self._requests = self._counter(
            "requests_total", "Requests to Charge, by operation and HTTP status; none: no answer.", "operation status"
        )
        latency = prometheus_client.Histogram(
            "fleet_sync_request_duration_seconds",
            "How long Charge took to answer a request.",
            ["operation"],
            registry=self._registry,
        )
        self._retries = self._counter("retries_total", "Requests to Charge that were repeated.")
        self._limited = self._counter("rate_limited_total", "Answers 429 of Charge.")
        self._changes = self._counter("changes_total", "Changes of runs that ended, by outcome.", "action outcome")
        # Bound once: to look labels up costs more than to count.
        self._latency = {operation: latency.labels(operation) for operation in OPERATIONS}
        self._answers: dict[tuple[str, int | None], prometheus_client.Counter] = {}
        for result in RunResult:
            for trigger in TRIGGERS:
                self._runs.labels(result.value, trigger)
        for action in Action:
            for outcome in OUTCOME_NAMES:
                self._changes.labels(action.value, outcome)

    def _counter(self, name: str, text: str, labels: str = "") -> prometheus_client.Counter:
        return prometheus_client.Counter(f"fleet_sync_{name}", text, labels.split(), registry=self._registry)

    def observe_request(self, operation: str, status: int | None, *, seconds: float) -> None:
        """Count one request, one of OPERATIONS; `status` is None where no answer came."""
        answer = self._answers.get((operation, status))
        if answer is None:
            answer = self._requests.labels(operation, "none" if status is None else str(status))
            self._answers[(operation, status)] = answer
        answer.inc()
        self._latency[operation].observe(seconds)

    def observe_run(self, finished: Report, trigger: str) -> None:
        """Count one run with its duration, changes, retries and 429s."""
        self._runs.labels(finished.result.value, trigger if trigger in TRIGGERS else "other").inc()
        self._duration.observe(max(0.0, (finished.finished - finished.started).total_seconds()))
        self._retries.inc(finished.traffic.retries)
        self._limited.inc(finished.traffic.rate_limited)
        for result in finished.results:
            self._changes.labels(result.change.action.value, result.outcome.name).inc()

    def render(self, present: status.Status) -> tuple[bytes, str]:
        """Write everything in Prometheus' text format, with its content type."""
        self._snapshot.present = present
        return prometheus_exposition.generate_latest(self._registry), prometheus_exposition.CONTENT_TYPE_PLAIN_0_0_4
