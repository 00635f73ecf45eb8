"""Reads a snapshot as Prometheus gauges.

Invariant: each series comes at most once, whatever fleets and sources are called. Neighbours: `metrics` registers it
beside its counters, `core.status` is what is read.
"""

import datetime
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import core, registry

from worker.core.monitoring import status
from worker.web import service_protocol

OTHER: Final = "other"
STATES: Final = ("in_sync", "drifted", "held", "frozen", "refused")

_Samples = Sequence[tuple[Sequence[str], float]]


class SnapshotCollector(registry.Collector):
    """A collector of what `present` says; nothing before there is one."""

    def __init__(self) -> None:
        """Start without a snapshot."""
        self.present: status.Status | None = None

    def collect(self) -> Iterator[core.Metric]:
        """Give every gauge."""
        if self.present is not None:
            yield from _of_the_process(self.present)
            yield from _of_the_fleets(self.present)
            yield from _of_the_runs(self.present)
            yield from _of_the_parts(self.present)


def _of_the_process(present: status.Status) -> Iterator[core.Metric]:
    build = [((present.version, platform.python_version()), 1.0)]
    yield _gauge("build_info", "What is running; always 1.", build, labels=("version", "python"))
    yield _one("start_timestamp_seconds", "When the service started.", present.started.timestamp())
    yield _one(
        "standby", "1 while another process writes to the journal, and this one waits.", bool(present.standing_by)
    )
    yield _one("pace_requests_per_second", "Requests a second that are sent at most at present.", present.pace)
    yield _one("pace_ceiling_requests_per_second", "Requests a second that are never exceeded.", present.ceiling)
    size = [] if present.journal_bytes is None else [((), float(present.journal_bytes))]
    yield _gauge("journal_size_bytes", "Size of the journal, where it is a file.", size)


def _of_the_fleets(present: status.Status) -> Iterator[core.Metric]:
    members = [
        ((fleet, state), float(count))
        for fleet, counts in _bounded(present.fleets).items()
        for state, count in zip(STATES, counts, strict=True)
    ]
    text = "Memberships of managed fleets after the last run that could be planned, by state."
    yield _gauge("memberships", text, members, labels=("fleet", "state"))
    yield _one("fleets", "Managed fleets.", len(present.fleets))
    guarded = present.last.guarded if present.last else None
    problems = sum(not problem.note for problem in guarded.problems) if guarded else 0
    yield _one("problems", "Problems of the last plan, harmless notes left out.", problems)


def _of_the_runs(present: status.Status) -> Iterator[core.Metric]:
    last = present.last.finished if present.last else None
    yield _one("last_run_timestamp_seconds", "When a run last ended; 0 before the first.", _seconds(last))
    text = "When a run last left everything in sync; 0 before the first."
    yield _one("last_success_timestamp_seconds", text, _seconds(present.last_success))


def _of_the_parts(present: status.Status) -> Iterator[core.Metric]:
    sources = {each.source.name: each.since.timestamp() for each in present.sources}
    text = "When the present revision of a source was first seen."
    yield _gauge(
        "source_revision_timestamp_seconds",
        text,
        [((name,), since) for name, since in sources.items()],
        labels=("source",),
    )
    parts = [((part.value,), float(any(each.part is part for each in present.broken))) for part in status.Part]
    yield _gauge("broken", "1 while a part does not work, and its last good state is used.", parts, labels=("part",))


def _bounded(fleets: Iterable[status.Fleet]) -> Mapping[str, tuple[int, ...]]:
    """Give the counts of the largest fleets, and the sum of all others."""
    counted = {each.fleet: tuple(getattr(each, state) for state in STATES) for each in fleets}
    ranked = sorted(counted.items(), key=lambda item: (-sum(item[1]), item[0]))
    shown: dict[str, tuple[int, ...]] = dict(ranked[: service_protocol.MOST_FLEETS])
    if rest := [counts for _, counts in ranked[service_protocol.MOST_FLEETS :]]:
        shown[OTHER] = tuple(map(sum, zip(*rest, strict=True)))
    return shown


def _gauge(name: str, text: str, samples: _Samples, *, labels: tuple[str, ...] = ()) -> core.Metric:
    family = core.GaugeMetricFamily(f"fleet_sync_{name}", text, labels=labels)
    for named, value in samples:
        family.add_metric(named, value)
    return family


def _one(name: str, text: str, value: float) -> core.Metric:
    return _gauge(name, text, [((), float(value))])


def _seconds(moment: datetime.datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
