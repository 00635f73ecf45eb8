"""docs/operations.md has every metric with its labels, and a section for every alert."""

import datetime
import re
from collections.abc import Iterator
from typing import Any

import prometheus_client.parser as prometheus_parser
import pytest

from tests.deploy import manifests
from tests.docs import pages
from worker.core.model.desired import SourceRevision
from worker.core.model.identifiers import Account, FleetId
from worker.core.monitoring import account_overview, status
from worker.web import metrics

OPERATIONS = pages.page("docs/operations.md")
METRICS, ALERTS = OPERATIONS.section("## Metrics"), OPERATIONS.section("## Alerts")
MANY = OPERATIONS.section("## Metrics of many accounts")
RULES: list[dict[str, Any]] = [
    rule
    for group in manifests.document(manifests.DEPLOY / "prometheus" / "alerts.yml")["groups"]
    for rule in group["rules"]
]
NOW = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
OF_A_TYPE = re.compile(r"_(bucket|sum|count)$")


def _table(section: pages.Page = METRICS) -> dict[str, set[str]]:
    """Return the labels of each metric in the table."""
    return {
        name: set(re.findall(r"`(\w+)`", row[1])) for row in section.rows() for name in re.findall(r"`(\w+)`", row[0])
    }


def _exposed() -> dict[str, set[str]]:
    """Return the labels of each metric that the service exports."""
    counted = metrics.Metrics()
    for operation in metrics.OPERATIONS:
        counted.observe_request(operation, 200, seconds=0.1)
    present = status.Status(
        now=NOW,
        started=NOW,
        version="1",
        account=Account("https://api.chargeapi.co/v1", "test"),
        rate=1.0,
        ceiling=25.0,
        fleets=(status.Fleet(FleetId("flt_1"), "Paris vans"),),
        sources=(
            status.Source(
                SourceRevision("file", "membership.yaml", "sha256:…", modified=NOW), NOW, datetime.timedelta(days=1)
            ),
        ),
        journal_bytes=1,
    )
    return _labels(counted, present)


def _labels(counted: metrics.Metrics, present: status.Status | account_overview.AccountsStatus) -> dict[str, set[str]]:
    text, _ = counted.render(present)
    found: dict[str, set[str]] = {}
    for family in prometheus_parser.text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            name = OF_A_TYPE.sub("", sample.name) if family.type == "histogram" else sample.name
            found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    return found


def test_the_table_has_every_metric_with_its_labels_and_no_other() -> None:
    assert _table() == {name: labels for name, labels in _exposed().items() if name.startswith("fleet_sync_")}


def test_the_table_of_many_accounts_has_every_metric_that_one_account_has_not() -> None:
    broken = account_overview.AccountStatus("acme", account_overview.Condition.BROKEN, "")
    exposed = _labels(metrics.Metrics(), account_overview.AccountsStatus(NOW, NOW, "1", (broken,), workers=2))
    own = {
        name: labels
        for name, labels in exposed.items()
        if name.startswith(("fleet_sync_accounts", "fleet_sync_workers"))
    }
    own |= {name: labels for name, labels in exposed.items() if name.startswith("fleet_sync_worst")}
    assert _table(MANY) == own
    assert {name for name in exposed.keys() - own.keys() if name.startswith("fleet_sync_")} <= set(_table())


def test_every_value_of_a_label_that_the_alerts_ask_for_is_one_that_comes() -> None:
    parts = {part.value for part in status.Part}
    for rule in RULES:
        assert set(re.findall(r'part="(\w+)"', rule["expr"])) <= parts
        states = set(re.findall(r'state="(\w+)"', rule["expr"]))
        assert states <= {"in_sync", "drifted", "held", "frozen", "refused"}


def test_the_alerts_ask_for_metrics_that_there_are() -> None:
    asked = {name for rule in RULES for name in re.findall(r"\bfleet_sync_\w+", rule["expr"])}
    assert asked and asked <= {*_table(), *_table(MANY)}


def test_every_alert_has_its_section_with_what_to_do_and_no_other() -> None:
    assert re.findall(r"^### (\w+)$", ALERTS.text, re.MULTILINE) == [rule["alert"] for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_section_says_how_bad_it_is_and_the_runbook_leads_there(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page.endswith("/operations.md")
    assert anchor in OPERATIONS.anchors()
    first, *rest = _paragraphs(rule["alert"])
    assert first.startswith(f"*{rule['labels']['severity'].capitalize()}.*")
    assert rest


def _paragraphs(alert: str) -> Iterator[str]:
    text = ALERTS.text.split(f"\n### {alert}\n", 1)[1].split("\n### ", 1)[0]
    return (paragraph.strip() for paragraph in text.strip().split("\n\n"))
