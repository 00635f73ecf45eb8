"""Turns a snapshot into Prometheus gauges.

Invariant: no series is exposed twice, whatever the names of fleets and sources are. Neighbours: `metrics` registers
this beside its counters, `core.monitoring.status` is the snapshot.
"""

import datetime
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import core, registry

from worker.core.model import pauses
from worker.core.model.people import clean
from worker.core.monitoring import account_overview, status
from worker.web import service_protocol

OTHER: Final = "other"
STATES: Final = ("in_sync", "drifted", "held", "frozen", "refused")

_Samples = Sequence[tuple[Sequence[str], float]]


class SnapshotCollector(registry.Collector):
    """Collects the gauges of `present`; none while it is None."""

    def __init__(self) -> None:
        """Start without a snapshot."""
        self.present: status.Status | account_overview.AccountsStatus | None = None

    def collect(self) -> Iterator[core.Metric]:
        """Yield every gauge."""
        match self.present:
            case status.Status():
                yield from _process_gauges(self.present)
                yield from _account_gauges(self.present)
                yield from _fleet_gauges(self.present)
                yield from _run_gauges(self.present)
                yield from _part_gauges(self.present)
            case account_overview.AccountsStatus():
                yield from _process_gauges(self.present)
                yield from _accounts_gauges(self.present)
            case None:
                pass


def _process_gauges(present: status.Status | account_overview.AccountsStatus) -> Iterator[core.Metric]:
    build = [((present.version, platform.python_version()), 1.0)]
    yield gauge("build_info", "Version of fleet-sync and Python; always 1.", build, labels=("version", "python"))
    yield single("start_timestamp_seconds", "Time at which the service started.", present.started.timestamp())


def _accounts_gauges(present: account_overview.AccountsStatus) -> Iterator[core.Metric]:
    """Yield the gauges of many accounts: their number does not grow with the accounts."""
    accounts = present.accounts
    counts = [((name.value,), float(number)) for name, number in account_overview.count(accounts).items()]
    yield gauge("accounts", "Accounts of the folder, by condition.", counts, labels=("condition",))
    if present.workers:
        yield single("workers", "Processes that share the accounts of the cluster.", present.workers)
    broken = [((part.value,), float(sum(part in each.broken for each in accounts))) for part in status.Part]
    yield gauge("accounts_broken", "Accounts of which a part does not work.", broken, labels=("part",))
    yield single("accounts_settings_broken", "1 while the folder or its defaults cannot be read.", bool(present.error))
    oldest = _seconds(account_overview.oldest_success(accounts))
    text = "Time at which the account that waits longest last succeeded; 0 while one has not yet."
    yield single("accounts_oldest_success_timestamp_seconds", text, oldest)
    worst = account_overview.worst(accounts)
    text = "Accounts that need attention most, at most 20; always 1."
    named = [((each.name, each.condition.value), 1.0) for each in worst]
    yield gauge("worst_account_info", text, named, labels=("name", "condition"))
    text = "Time at which an account that needs attention last succeeded; 0 if it has not yet."
    times = [((each.name,), _seconds(each.last_success)) for each in worst]
    yield gauge("worst_account_last_success_timestamp_seconds", text, times, labels=("name",))


def _account_gauges(present: status.Status) -> Iterator[core.Metric]:
    yield single("standby", "1 while another process is the journal's writer.", bool(present.standing_by))
    yield single("paused", "1 while writes to all fleets are paused.", pauses.everywhere(present.pauses) is not None)
    paused = sum(pause.fleet is not None for pause in present.pauses)
    yield single("paused_fleets", "Fleets to which writes are paused, one by one.", paused)
    yield single("pace_requests_per_second", "Present limit on requests per second.", present.rate)
    yield single("pace_ceiling_requests_per_second", "Highest limit on requests per second.", present.ceiling)
    size = [] if present.journal_bytes is None else [((), float(present.journal_bytes))]
    yield gauge("journal_size_bytes", "Size of the journal, if it is a file.", size)


def _fleet_gauges(present: status.Status) -> Iterator[core.Metric]:
    members = [
        ((fleet, state), float(count))
        for fleet, counts in _bounded(present.fleets).items()
        for state, count in zip(STATES, counts, strict=True)
    ]
    text = "Memberships of managed fleets after the last run that had a plan, by state."
    yield gauge("memberships", text, members, labels=("fleet", "state"))
    shown = sorted(present.fleets, key=_size)[: service_protocol.MAX_FLEETS]
    names = [((each.fleet, clean(each.name)), 1.0) for each in sorted(shown, key=lambda each: each.fleet)]
    yield gauge(
        "fleet_info", "Name of each fleet that has series of its own; always 1.", names, labels=("fleet", "name")
    )
    yield single("fleets", "Managed fleets.", len(present.fleets))
    guarded = present.last.guarded if present.last else None
    problems = sum(not problem.note for problem in guarded.problems) if guarded else 0
    yield single("problems", "Problems of the last plan, without harmless notes.", problems)


def _run_gauges(present: status.Status) -> Iterator[core.Metric]:
    last = present.last.finished if present.last else None
    yield single("last_run_timestamp_seconds", "Time at which the last run ended; 0 before the first.", _seconds(last))
    text = "Time at which a run last ended with exit code 0; 0 before the first."
    yield single("last_success_timestamp_seconds", text, _seconds(present.last_success))


def _part_gauges(present: status.Status) -> Iterator[core.Metric]:
    sources = {each.source.name: each.since.timestamp() for each in present.sources}
    text = "Time at which the present revision of a source was first seen."
    yield gauge(
        "source_revision_timestamp_seconds",
        text,
        [((name,), since) for name, since in sources.items()],
        labels=("source",),
    )
    yield from _source_gauges(present)
    parts = [((part.value,), float(any(each.part is part for each in present.broken))) for part in status.Part]
    yield gauge("broken", "1 while a part does not work and its last valid state is used.", parts, labels=("part",))


def _source_gauges(present: status.Status) -> Iterator[core.Metric]:
    by_name = {each.source.name: each for each in present.sources}
    sources, guarded = by_name.values(), present.last.guarded if present.last else None
    rows = [((each.source.name,), float(each.source.rows)) for each in sources]
    yield gauge("source_rows", "Rows of a source when it was last read.", rows, labels=("source",))
    modified = [((each.source.name,), _seconds(each.source.modified)) for each in sources if each.source.modified]
    text = "Time at which a source last changed, if that is known."
    yield gauge("source_modified_timestamp_seconds", text, modified, labels=("source",))
    limits = [((each.source.name,), each.max_age.total_seconds()) for each in sources if each.max_age]
    yield gauge("source_max_age_seconds", "How old a source may be, if limited.", limits, labels=("source",))
    shrunk = {each.name for each in guarded.shrunk} if guarded else set()
    trips = [((name,), float(name in shrunk)) for name in by_name]
    yield gauge("source_shrunk", "1 while detaches are held because a source lost rows.", trips, labels=("source",))
    proofs = [((each.source.name, each.source.kind, each.source.proof), 1.0) for each in sources]
    text = "By what a source was shown to be whole when it was last read; always 1."
    yield gauge("source_info", text, proofs, labels=("source", "kind", "proof"))


def _size(fleet: status.Fleet) -> tuple[int, str]:
    """Return the sort key of a fleet: the largest first."""
    return -sum(getattr(fleet, state) for state in STATES), fleet.fleet


def _bounded(fleets: Iterable[status.Fleet]) -> Mapping[str, tuple[int, ...]]:
    """Return the counts of the largest fleets, and the sum of all others as OTHER."""
    counts_by_fleet = {each.fleet: tuple(getattr(each, state) for state in STATES) for each in fleets}
    ranked = sorted(counts_by_fleet.items(), key=lambda item: (-sum(item[1]), item[0]))
    shown: dict[str, tuple[int, ...]] = dict(ranked[: service_protocol.MAX_FLEETS])
    if rest := [counts for _, counts in ranked[service_protocol.MAX_FLEETS :]]:
        shown[OTHER] = tuple(map(sum, zip(*rest, strict=True)))
    return shown


def gauge(name: str, text: str, samples: _Samples, *, labels: tuple[str, ...] = ()) -> core.Metric:
    """Return a gauge with these samples, each with the values of its labels."""
    family = core.GaugeMetricFamily(f"fleet_sync_{name}", text, labels=labels)
    for named, value in samples:
        family.add_metric(named, value)
    return family


def single(name: str, text: str, value: float) -> core.Metric:
    """Return a gauge without labels."""
    return gauge(name, text, [((), float(value))])


def _seconds(moment: datetime.datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
