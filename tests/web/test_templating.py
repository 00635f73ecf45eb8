"""The filters of the templates: how numbers, times and texts are written on a page."""

import datetime
from typing import Any

import pytest

from worker.web import templating

NBSP = "\N{NO-BREAK SPACE}"
NOON = datetime.datetime(2026, 3, 1, 12, 5, 9, 900_000, tzinfo=datetime.UTC)
IN_PARIS = NOON.astimezone(datetime.timezone(datetime.timedelta(hours=1)))


def _written(template: str, **values: Any) -> str:
    return templating._environment().from_string(template).render(values)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("bytes", 0, "0 bytes"),
        ("bytes", 999, "999 bytes"),
        ("bytes", 1000, "1 KB"),
        ("bytes", 4_812_000, "4.81 MB"),
        ("bytes", 999_000_000, "999 MB"),
        ("bytes", 1_000_000_000, "1.0 GB"),
        ("bytes", 73_250_000_000, "73.2 GB"),
        ("took", 0.04, "0.0 s"),
        ("took", 9.94, "9.9 s"),
        ("took", 10, "10 s"),
        ("took", 119, "1 min"),
        ("day", IN_PARIS, "2026-03-01 12:05:09"),
        ("iso", IN_PARIS, "2026-03-01T12:05:09Z"),
        ("trigger", "boundary", "date in a source"),
        ("trigger", "interval", "interval"),
        ("keep_units", "after 40 s, or 3 days", f"after 40{NBSP}s, or 3{NBSP}days"),
        ("keep_units", "guard.always_allow = 2 is set", f"guard.always_allow{NBSP}={NBSP}2 is set"),
        ("keep_units", "40 seconds and 3 fleets", "40 seconds and 3 fleets"),
    ],
)
def test_a_value_is_written_for_people(name: str, value: Any, text: str) -> None:
    assert _written(f"{{{{ value | {name} }}}}", value=value) == text


def test_a_no_break_space_stays_and_a_line_break_becomes_a_space() -> None:
    assert templating.printable(f"40{NBSP}s\n") == f"40{NBSP}s "


@pytest.mark.parametrize("value", ["a\x1bb", "<b>"])
def test_what_a_template_writes_is_printable_and_escaped(value: str) -> None:
    written = _written("{{ value }}", value=value)
    assert written in ("a\N{REPLACEMENT CHARACTER}b", "&lt;b&gt;")


def test_a_line_with_only_a_tag_leaves_nothing_on_the_page() -> None:
    assert _written("<ul>\n  {% if true %}\n  <li>\n  {% endif %}\n</ul>") == "<ul>\n  <li>\n</ul>"


def test_a_command_is_about_the_account_of_the_page() -> None:
    text = "Run `fleet-sync plan`, see `fleet-sync.toml` and <b>`."
    shown = _written("{{ text | code }}", text=text, command="fleet-sync --account acme")
    assert shown == (
        "Run <code>fleet-sync --account acme plan</code>, see <code>fleet-sync.toml</code> and &lt;b&gt;<code>.</code>"
    )


def test_names_stand_before_the_ids_that_the_page_knows() -> None:
    ids = {"driver": f"drv_{'a' * 32}", "fleet": f"flt_{'b' * 32}"}
    text = "{driver} in {fleet}".format(**ids)
    names = {"driver_names": {ids["driver"]: "Ada"}, "names": {ids["fleet"]: "Paris vans"}}
    shown = _written("{{ text | named }}", text=text, **names)
    assert shown == f"Ada ({ids['driver']}) in Paris vans ({ids['fleet']})"
    assert _written("{{ text | named }}", text=text, present=None) == text
