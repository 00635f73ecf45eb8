"""Time zones by name, for `sync.timezone` and for fleets."""

import datetime
import zoneinfo

import anyio
import pytest

from tests.settings import conftest
from worker.core.model.desired import Row
from worker.service import source_factory
from worker.settings import time_zones


def only_row(load: conftest.Load, timezone: str, text: str, name: str = "membership.yaml") -> Row:
    settings = load(f'sync.timezone = "{timezone}"\n', sources=conftest.SOURCES.replace("membership.yaml", name))
    settings.resolve_path(name).write_text(text)
    (source,) = source_factory.create(settings)
    (row,) = anyio.run(source.read).rows
    return row


YAML = "fleets: {a: [{driver: x@y, from: 2026-01-01, until: 2026-07-01}]}"
JSON = '{"fleets": {"a": [{"driver": "x@y", "from": "2026-01-01", "until": "2026-07-01"}]}}'
CSV = "driver,fleet,from,until\nx@y,a,2026-01-01,2026-07-01\n"


@pytest.mark.parametrize(("name", "text"), [("a.yaml", YAML), ("a.json", JSON), ("a.csv", CSV)])
def test_dates_of_every_format_are_in_the_zone_of_the_settings(name: str, text: str, load: conftest.Load) -> None:
    row = only_row(load, "Europe/Paris", text, name)
    assert (row.starts, row.ends) == (
        datetime.datetime(2025, 12, 31, 23, tzinfo=datetime.UTC),
        datetime.datetime(2026, 6, 30, 22, tzinfo=datetime.UTC),
    )
    local = only_row(load, "fleet", text, name)
    assert (local.starts, local.ends) == (datetime.datetime(2026, 1, 1), datetime.datetime(2026, 7, 1))  # noqa: DTZ001
    assert only_row(load, "UTC", text, name).ends == datetime.datetime(2026, 7, 1, tzinfo=datetime.UTC)


def test_a_mapped_date_is_in_the_zone_of_the_settings(load: conftest.Load) -> None:
    rows = 'rows = {driver = "{who}", fleet = "{where}", until = "{end}", date_format = "%d.%m.%Y"}\n'
    settings = load('sync.timezone = "Asia/Tokyo"\n', sources=f'[[sources]]\npath = "a.csv"\n{rows}')
    settings.resolve_path("a.csv").write_text("who,where,end\nx@y,a,01.07.2026\n")
    (source,) = source_factory.create(settings)
    (row,) = anyio.run(source.read).rows
    assert row.ends == datetime.datetime(2026, 6, 30, 15, tzinfo=datetime.UTC)


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Paris", "fleet"])
def test_a_moment_with_an_offset_is_the_same_in_every_zone(timezone: str, load: conftest.Load) -> None:
    text = "fleets: {a: [{driver: x@y, from: 2026-01-01, until: 2026-01-01T08:00:00+02:00}]}"
    assert only_row(load, timezone, text).ends == datetime.datetime(2026, 1, 1, 6, tzinfo=datetime.UTC)


@pytest.mark.parametrize("timezone", ["", "Mars/Olympus", "Europe", "../etc/passwd", "/etc/localtime", "europe/paris"])
def test_what_is_no_time_zone_is_refused(timezone: str, refused: conftest.Refused) -> None:
    (problem,) = refused(f'[sync]\ntimezone = "{timezone}"\n')
    assert problem.startswith("fleet-sync.toml:2:12: ")
    assert 'such as "Europe/Paris", or "fleet"' in problem


def test_zones_are_found_by_name() -> None:
    assert time_zones.find("Europe/Paris") == zoneinfo.ZoneInfo("Europe/Paris")
    assert time_zones.find("UTC") is datetime.UTC
    assert [time_zones.find(name) for name in ("", "fleet", "\0", "Europe/")] == [None] * 4
