"""Makes the PrometheusRule of deploy/kubernetes/monitoring of the rule file, which promtool tests.

Invariant: both have the same rules; only deploy/prometheus/alerts.yml is edited. Neighbours: `test_kubernetes` compares
them; `python -m tests.deploy.prometheus_rule` writes the manifest.
"""

from typing import Final

from tests.deploy import manifests

RULES: Final = manifests.DEPLOY / "prometheus" / "alerts.yml"
MANIFEST: Final = manifests.DEPLOY / "kubernetes" / "monitoring" / "prometheusrule.yaml"

_HEAD: Final = """\
# The alerts of deploy/prometheus/alerts.yml for the Prometheus operator. Edit them there, then write this file again:
#   python -m tests.deploy.prometheus_rule
#
# Each alert leads to its section of docs/operations.md. Say where your people read it:
#   sed -i 's|https://docs.example.com/fleet-sync|https://wiki.acme.example/fleet-sync|' prometheusrule.yaml
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fleet-sync
  namespace: fleet-sync
  labels:
    app.kubernetes.io/name: fleet-sync
spec:
"""


def text() -> str:
    """Return the manifest."""
    _, groups = RULES.read_text(encoding="utf-8").split("\ngroups:\n")
    lines = [f"  {line}".rstrip() for line in f"groups:\n{groups}".splitlines()]
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    MANIFEST.write_text(text(), encoding="utf-8")
