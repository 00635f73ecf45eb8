"""The metrics for Prometheus: counters that the service updates, and gauges read from a snapshot.

Invariant: no label has unbounded values, and no series is exposed twice. Neighbours: `metrics_collector` reads the
snapshot, `app` serves the result of `Metrics.render`, `docs/operations.md` has the alert rules that use these names.
"""

from typing import Final

import prometheus_client
from prometheus_client import exposition as prometheus_exposition

from worker.core.model.outcomes import OUTCOME_NAMES
from worker.core.model.plan import Action
from worker.core.model.report import Report, RunResult
from worker.core.monitoring import account_overview, status
from worker.web import metrics_collector

TRIGGERS: Final = (*status.Trigger, "other")
OPERATIONS: Final = ("list_drivers", "list_fleets", "retrieve_driver", "retrieve_fleet", "attach", "detach")

_RUN_BUCKETS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """All metrics of this process. Create it once."""

    def __init__(self) -> None:
        """Start at zero. Disables `_created` series for the whole process: they double the output for nothing."""
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = prometheus_client.CollectorRegistry()
        self._snapshot = metrics_collector.SnapshotCollector()
        self._registry.register(self._snapshot)
        prometheus_client.ProcessCollector(registry=self._registry)
        self._runs = self._counter("runs_total", "Finished runs, by result and trigger.", "result trigger")
        self._run_duration = prometheus_client.Histogram(
            "fleet_sync_run_duration_seconds",
            "Duration of runs, from the first request to the report.",
            buckets=_RUN_BUCKETS,
            registry=self._registry,
        )
        self._requests = self._counter(
            "requests_total", "Requests to Charge, by operation and HTTP status; none: no response.", "operation status"
        )
        duration = prometheus_client.Histogram(
            "fleet_sync_request_duration_seconds",
            "Response time of requests to Charge.",
            ["operation"],
            registry=self._registry,
        )
        self._retries = self._counter("retries_total", "Retried requests to Charge.")
        self._rate_limited = self._counter("rate_limited_total", "Responses of Charge with status 429.")
        self._changes = self._counter("changes_total", "Changes of finished runs, by outcome.", "action outcome")
        # Labels are resolved once: looking them up costs more than counting.
        self._request_duration = {operation: duration.labels(operation) for operation in OPERATIONS}
        self._responses: dict[tuple[str, int | None], prometheus_client.Counter] = {}
        for result in RunResult:
            for trigger in TRIGGERS:
                self._runs.labels(result.value, trigger)
        for action in Action:
            for outcome in OUTCOME_NAMES:
                self._changes.labels(action.value, outcome)

    def _counter(self, name: str, text: str, labels: str = "") -> prometheus_client.Counter:
        return prometheus_client.Counter(f"fleet_sync_{name}", text, labels.split(), registry=self._registry)

    def observe_request(self, operation: str, status: int | None, *, seconds: float) -> None:
        """Count one request; `operation` is one of OPERATIONS, `status` is None if no response arrived."""
        counter = self._responses.get((operation, status))
        if counter is None:
            counter = self._requests.labels(operation, "none" if status is None else str(status))
            self._responses[(operation, status)] = counter
        counter.inc()
        self._request_duration[operation].observe(seconds)

    def observe_run(self, finished: Report, trigger: str) -> None:
        """Count one finished run with its duration, changes, retries and 429s."""
        self._runs.labels(finished.result.value, trigger if trigger in TRIGGERS else "other").inc()
        self._run_duration.observe(max(0.0, (finished.finished - finished.started).total_seconds()))
        self._retries.inc(finished.traffic.retries)
        self._rate_limited.inc(finished.traffic.rate_limited)
        for result in finished.results:
            self._changes.labels(result.change.action.value, result.outcome.name).inc()

    def render(self, present: status.Status | account_overview.AccountsStatus) -> tuple[bytes, str]:
        """Return all metrics in Prometheus' text format, and its content type."""
        self._snapshot.present = present
        return prometheus_exposition.generate_latest(self._registry), prometheus_exposition.CONTENT_TYPE_PLAIN_0_0_4
