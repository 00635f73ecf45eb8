"""deploy/prometheus: alerts that Prometheus accepts, over existing metrics, each tested firing and not firing."""

import pathlib
import re
import shutil
from typing import Any

import pytest
import yaml

from tests.deploy import manifests

FOLDER = manifests.DEPLOY / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in manifests.document(FOLDER / "alerts.yml")["groups"] for rule in group["rules"]
]
DOCS = "https://docs.example.com/fleet-sync"
TESTS = (FOLDER / "alerts_test.yml").read_text(encoding="utf-8")


def test_promtool_accepts_the_rules() -> None:
    said = manifests.accepts("promtool", "check", "rules", str(FOLDER / "alerts.yml"))
    assert f"SUCCESS: {len(RULES)} rules found" in said


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    assert "SUCCESS" in manifests.accepts("promtool", "test", "rules", "alerts_test.yml", cwd=FOLDER)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_shown_firing(rule: dict[str, Any]) -> None:
    assert f'alertname="{rule["alert"]}"' in TESTS


@pytest.mark.parametrize(
    ("planted", "instead"),
    [
        ("[40m]", "[5m]"),
        ("max_over_time(fleet_sync_last_success", "min_over_time(fleet_sync_last_success"),
        ("held|partial", "none"),
        ("drifted|held|frozen|refused", "in_sync"),
        ("last_over_time(fleet_sync_standby[10m]) == 0", "fleet_sync_build_info"),
        ("absent(fleet_sync_build_info) or ", ""),
        (' or up{job="fleet-sync"} == 0', ""),
        ("> 0.05 *", "> 0.01 *"),
        ("for: 30m", "for: 5m"),
        ('state="held"', 'state="refused"'),
    ],
)
def test_a_defect_in_the_rules_is_caught(planted: str, instead: str, tmp_path: pathlib.Path) -> None:
    """The tests of the rules can fail: a wrong rule breaks them."""
    text = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    assert planted in text
    (tmp_path / "alerts.yml").write_text(text.replace(planted, instead), encoding="utf-8")
    shutil.copy(FOLDER / "alerts_test.yml", tmp_path)
    assert manifests.run("promtool", "test", "rules", "alerts_test.yml", cwd=tmp_path).returncode != 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"{DOCS}/operations.md#{rule['alert'].lower()}"


def test_one_replacement_leads_every_alert_to_ones_own_copy_of_the_documentation() -> None:
    """The header says which."""
    text = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    [(placeholder, own)] = re.findall(r"sed -i 's\|(\S+)\|(\S+)\|' alerts.yml", text)
    assert placeholder == DOCS
    rules = [rule for group in yaml.safe_load(text.replace(placeholder, own))["groups"] for rule in group["rules"]]
    assert all(rule["annotations"]["runbook_url"].startswith(f"{own}/operations.md#") for rule in rules)
