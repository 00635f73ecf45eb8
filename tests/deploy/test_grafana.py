"""deploy/grafana: every query of the dashboard is about metrics and labels that the service exposes, and is valid."""

import json
import re
import shutil
from typing import Any

import pytest
from prometheus_client import parser

from tests.deploy import manifests
from tests.web import doubles
from worker.core.model.errors import FleetSyncError
from worker.web import metrics

DASHBOARD = json.loads((manifests.DEPLOY / "grafana" / "fleet-sync.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
_FROM_SCRAPING = {"job", "instance"}


def exposed() -> dict[str, set[str]]:
    """Return the labels of each series of the real metrics."""
    counted = metrics.Metrics()
    counted.observe_request("attach", 200, seconds=0.1)
    counted.observe_run(doubles.run(error=FleetSyncError("x", code="x", remedy="X.")), "start")
    labels: dict[str, set[str]] = {}
    for family in parser.text_string_to_metric_families(counted.render(doubles.calm())[0].decode()):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_about_series_that_exist(query: str) -> None:
    series = exposed()
    named = re.findall(r"\b(?:fleet_sync|process)_\w+", query)
    assert named
    assert [name for name in named if name not in series] == []
    known = set[str]().union(*(series[name] for name in named)) | _FROM_SCRAPING
    used = {label for group in re.findall(r"(?:by|on|group_left) \(([^)]*)\)", query) for label in group.split(", ")}
    used |= set(re.findall(r"[{,](\w+)(?:=|!=|=~)", query))
    assert used <= known


def test_every_panel_has_a_place_of_its_own() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


@pytest.mark.real
def test_prometheus_accepts_every_query(tmp_path: Any) -> None:
    if shutil.which("promtool") is None:
        manifests.accepts("promtool", "--version")  # skips, or fails where tools are required
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES)
    ]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"SUCCESS: {len(QUERIES)} rules found" in manifests.accepts("promtool", "check", "rules", str(path))
