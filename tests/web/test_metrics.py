"""The metrics: every name that the alert rules use, and no series twice."""

import dataclasses
import datetime
import os
import pathlib
import shutil
import subprocess

import pytest
from prometheus_client import parser

from tests.web import doubles
from worker.core.model.desired import SourceRevision
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import FleetId
from worker.core.model.outcomes import Applied, ChangeResult, Outcome, Refused
from worker.core.model.report import Traffic
from worker.core.model.source_history import ShrunkSource
from worker.core.monitoring import status
from worker.web import metrics, service_protocol

FAMILIES = {
    "fleet_sync_build_info": "gauge",
    "fleet_sync_memberships": "gauge",
    "fleet_sync_fleets": "gauge",
    "fleet_sync_fleet_info": "gauge",
    "process_cpu_seconds": "counter",
    "process_max_fds": "gauge",
    "process_open_fds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_virtual_memory_bytes": "gauge",
    "fleet_sync_problems": "gauge",
    "fleet_sync_runs": "counter",
    "fleet_sync_last_success_timestamp_seconds": "gauge",
    "fleet_sync_last_run_timestamp_seconds": "gauge",
    "fleet_sync_start_timestamp_seconds": "gauge",
    "fleet_sync_run_duration_seconds": "histogram",
    "fleet_sync_requests": "counter",
    "fleet_sync_request_duration_seconds": "histogram",
    "fleet_sync_retries": "counter",
    "fleet_sync_rate_limited": "counter",
    "fleet_sync_pace_requests_per_second": "gauge",
    "fleet_sync_pace_ceiling_requests_per_second": "gauge",
    "fleet_sync_source_revision_timestamp_seconds": "gauge",
    "fleet_sync_source_rows": "gauge",
    "fleet_sync_source_modified_timestamp_seconds": "gauge",
    "fleet_sync_source_max_age_seconds": "gauge",
    "fleet_sync_source_shrunk": "gauge",
    "fleet_sync_source_info": "gauge",
    "fleet_sync_broken": "gauge",
    "fleet_sync_journal_size_bytes": "gauge",
    "fleet_sync_standby": "gauge",
    "fleet_sync_paused": "gauge",
    "fleet_sync_paused_fleets": "gauge",
    "fleet_sync_changes": "counter",
}

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(counted: metrics.Metrics, present: status.Status) -> Series:
    """Parse the exposition; a repeated series is an error."""
    content, _ = counted.render(present)
    series: Series = {}
    for family in parser.text_string_to_metric_families(content.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in series
            series[key] = sample.value
    return series


def value(series: Series, name: str, **labels: str) -> float:
    return series[(f"fleet_sync_{name}", frozenset(labels.items()))]


def test_fleets_have_names_that_cannot_break_the_format(counted: metrics.Metrics) -> None:
    hostile = 'Paris "vans"\n\u202e\ud800'
    present = doubles.calm(fleets=(dataclasses.replace(doubles.FLEETS[0], name=hostile), doubles.FLEETS[1]))
    series = read(counted, present)
    named = {(doubles.fleet(0), 'Paris "vans" \ufffd\ufffd'), (doubles.fleet(1), "Lyon depot")}
    labels = [dict(found) for series_name, found in series if series_name == "fleet_sync_fleet_info"]
    assert {(each["fleet"], each["name"]) for each in labels} == named


@pytest.fixture
def counted() -> metrics.Metrics:
    return metrics.Metrics()


def test_exactly_these_metrics_are_exposed_each_with_a_help_text(counted: metrics.Metrics) -> None:
    content, media = counted.render(doubles.calm())
    families = list(parser.text_string_to_metric_families(content.decode()))
    assert {family.name: family.type for family in families} == FAMILIES
    assert all(family.documentation for family in families)
    assert media == "text/plain; version=0.0.4; charset=utf-8"


def test_a_service_in_sync_exposes_its_state(counted: metrics.Metrics) -> None:
    series = read(counted, doubles.calm())
    assert value(series, "fleets") == 6
    assert value(series, "memberships", fleet=doubles.fleet(0), state="in_sync") == 412
    assert value(series, "memberships", fleet=doubles.fleet(0), state="held") == 0
    assert value(series, "pace_requests_per_second") == 18.4
    assert value(series, "pace_ceiling_requests_per_second") == 25
    assert value(series, "journal_size_bytes") == 4_812_000
    assert value(series, "last_success_timestamp_seconds") == doubles.NOW.timestamp() - 40
    assert value(series, "last_run_timestamp_seconds") == doubles.NOW.timestamp() - 40
    assert value(series, "start_timestamp_seconds") == doubles.calm().started.timestamp()
    seen = doubles.NOW - datetime.timedelta(hours=7)
    assert value(series, "source_revision_timestamp_seconds", source="membership.yaml") == seen.timestamp()
    assert value(series, "standby") == value(series, "paused") == value(series, "paused_fleets") == 0
    assert value(series, "problems") == 0
    assert [labels for name, labels in series if name == "fleet_sync_build_info"]


def test_before_the_first_run_timestamps_are_zero(counted: metrics.Metrics) -> None:
    series = read(counted, dataclasses.replace(doubles.starting(), journal_bytes=None, standing_by="another one"))
    assert value(series, "last_success_timestamp_seconds") == 0
    assert value(series, "last_run_timestamp_seconds") == 0
    assert value(series, "standby") == 1
    assert not [name for name, _ in series if name == "fleet_sync_journal_size_bytes"]


def test_every_part_has_a_series_at_all_times(counted: metrics.Metrics) -> None:
    series = read(counted, doubles.broken())
    parts = {
        part: value(series, "broken", part=part) for part in ("settings", "source", "journal", "charge", "key", "clock")
    }
    assert parts == {"settings": 0, "source": 1, "journal": 0, "charge": 0, "key": 0, "clock": 0}
    assert value(series, "problems") == 0


def test_a_plans_problems_are_counted(counted: metrics.Metrics) -> None:
    assert value(read(counted, doubles.refusing()), "problems") == 1


def test_a_harmless_note_is_not_counted_as_a_problem(counted: metrics.Metrics) -> None:
    assert value(read(counted, doubles.holding()), "problems") == 0


def test_the_smallest_fleets_are_added_up(counted: metrics.Metrics) -> None:
    fleets = tuple(
        status.Fleet(FleetId(f"flt_{n}"), "", in_sync=n, drifted=1) for n in range(service_protocol.MAX_FLEETS + 5)
    )
    series = read(counted, doubles.calm(fleets=fleets))
    shown = {dict(labels)["fleet"] for name, labels in series if name == "fleet_sync_memberships"}
    assert len(shown) == service_protocol.MAX_FLEETS + 1
    assert value(series, "memberships", fleet="other", state="in_sync") == 0 + 1 + 2 + 3 + 4
    assert value(series, "memberships", fleet="other", state="drifted") == 5
    assert value(series, "fleets") == service_protocol.MAX_FLEETS + 5


def test_hostile_names_break_no_line(counted: metrics.Metrics) -> None:
    name = 'a"b\\c\nd{}'
    revision = SourceRevision("file", name, "sha256:0")
    sources = (status.Source(revision, doubles.NOW), status.Source(revision, doubles.NOW))
    series = read(counted, doubles.calm(sources=sources))
    assert value(series, "source_revision_timestamp_seconds", source=name) == doubles.NOW.timestamp()


def test_runs_are_counted_by_result_and_trigger(counted: metrics.Metrics) -> None:
    counted.observe_run(doubles.run(took=2.4), "interval")
    counted.observe_run(doubles.run(error=JournalError("full"), took=-1), "a new trigger")
    series = read(counted, doubles.calm())
    assert value(series, "runs_total", result="in_sync", trigger="interval") == 1
    assert value(series, "runs_total", result="failed", trigger="other") == 1
    assert value(series, "runs_total", result="held", trigger="start") == 0
    assert value(series, "run_duration_seconds_count") == 2
    assert value(series, "run_duration_seconds_sum") == pytest.approx(2.4)
    assert value(series, "run_duration_seconds_bucket", le="2.5") == 2
    assert value(series, "run_duration_seconds_bucket", le="1.0") == 1


def test_every_trigger_has_a_series_from_the_start(counted: metrics.Metrics) -> None:
    shown = {
        dict(labels)["trigger"] for name, labels in read(counted, doubles.calm()) if name == "fleet_sync_runs_total"
    }
    assert shown == {*status.Trigger, "other"}


def test_a_runs_changes_and_traffic_are_counted(counted: metrics.Metrics) -> None:
    made = [doubles.change("attach", 1, 0), doubles.change("detach", 2, 0), doubles.change("detach", 3, 0)]
    came: list[Outcome] = [Applied(1), Applied(1), Refused(1, "c", "no")]
    finished = doubles.run(plan=doubles.guarded(changes=made), results=list(map(ChangeResult, made, came)))
    counted.observe_run(dataclasses.replace(finished, traffic=Traffic(9, 3, 2, 1)), "source")
    series = read(counted, doubles.calm())
    assert value(series, "changes_total", action="attach", outcome="applied") == 1
    assert value(series, "changes_total", action="detach", outcome="applied") == 1
    assert value(series, "changes_total", action="detach", outcome="refused") == 1
    assert value(series, "changes_total", action="attach", outcome="unknown") == 0
    assert value(series, "retries_total") == 2
    assert value(series, "rate_limited_total") == 1


def test_requests_are_counted_by_operation_and_status(counted: metrics.Metrics) -> None:
    for answer in (200, 200, 429, None):
        counted.observe_request("attach", answer, seconds=0.2)
    series = read(counted, doubles.calm())
    assert value(series, "requests_total", operation="attach", status="200") == 2
    assert value(series, "requests_total", operation="attach", status="429") == 1
    assert value(series, "requests_total", operation="attach", status="none") == 1
    assert value(series, "request_duration_seconds_count", operation="attach") == 4
    assert value(series, "request_duration_seconds_count", operation="list_fleets") == 0


def test_promtool_finds_nothing(counted: metrics.Metrics) -> None:
    if not (promtool := shutil.which("promtool")):
        if os.environ.get("FLEET_SYNC_TEST_TOOLS") == "required":
            pytest.fail("promtool must be installed here")
        pytest.skip("promtool is not installed")
    counted.observe_request("attach", 200, seconds=0.2)
    counted.observe_run(doubles.run(), "interval")
    content, _ = counted.render(doubles.calm())
    done = subprocess.run([pathlib.Path(promtool), "check", "metrics"], input=content, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_sources_show_their_rows_age_and_proof_and_whether_they_shrank(counted: metrics.Metrics) -> None:
    hr = SourceRevision("sftp", "hr", "sha256:0", 900, "manifest", doubles.NOW - datetime.timedelta(hours=2))
    guests = SourceRevision("file", "guests.csv", "sha256:1", 3)
    sources = (
        status.Source(hr, doubles.NOW, datetime.timedelta(hours=26)),
        status.Source(guests, doubles.NOW),
    )
    plan = dataclasses.replace(doubles.guarded(), shrunk=(ShrunkSource("guests.csv", 3, 9, "it lost 6"),))
    series = read(counted, doubles.calm(sources=sources, last=doubles.run(plan=plan)))
    assert value(series, "source_rows", source="hr") == 900
    assert value(series, "source_modified_timestamp_seconds", source="hr") == doubles.NOW.timestamp() - 7200
    assert value(series, "source_max_age_seconds", source="hr") == 26 * 3600
    assert value(series, "source_info", source="hr", kind="sftp", proof="manifest") == 1
    assert [value(series, "source_shrunk", source=name) for name in ("hr", "guests.csv")] == [0, 1]
    unknown = {"fleet_sync_source_modified_timestamp_seconds", "fleet_sync_source_max_age_seconds"}
    assert not [labels for name, labels in series if name in unknown and ("source", "guests.csv") in labels]


def test_pauses_are_counted_apart_for_everything_and_for_fleets(counted: metrics.Metrics) -> None:
    everything, fleet = doubles.paused().pauses
    both = read(counted, doubles.calm(pauses=(everything, fleet)))
    assert (value(both, "paused"), value(both, "paused_fleets")) == (1, 1)
    single = read(counted, doubles.calm(pauses=(fleet,)))
    assert (value(single, "paused"), value(single, "paused_fleets")) == (0, 1)


def test_the_largest_fleets_are_those_with_most_memberships_in_any_state(counted: metrics.Metrics) -> None:
    small = [status.Fleet(FleetId(f"flt_{n:03}"), f"small {n}", in_sync=2) for n in range(service_protocol.MAX_FLEETS)]
    large = status.Fleet(FleetId("flt_large"), "large", in_sync=1, drifted=1, held=1)
    series = read(counted, doubles.calm(fleets=(large, *reversed(small))))
    for name in ("fleet_sync_memberships", "fleet_sync_fleet_info"):
        shown = {dict(labels)["fleet"] for series_name, labels in series if series_name == name} - {"other"}
        assert shown == {fleet.fleet for fleet in small[:-1]} | {"flt_large"}


def test_before_the_first_plan_there_is_no_problem_and_no_source_has_shrunk(counted: metrics.Metrics) -> None:
    sources = (status.Source(SourceRevision("file", "hr", "sha256:0"), doubles.NOW),)
    for last in (None, doubles.run(error=JournalError("full"))):
        series = read(counted, doubles.calm(last=last, sources=sources))
        assert value(series, "problems") == value(series, "source_shrunk", source="hr") == 0


def test_every_sample_of_a_static_fact_is_one(counted: metrics.Metrics) -> None:
    series = read(counted, doubles.calm())
    facts = [found for (name, _), found in series.items() if name.endswith("_info")]
    assert len(facts) == 1 + len(doubles.FLEETS) + 1
    assert set(facts) == {1}
