"""deploy/kubernetes is valid, meets the strictest standard, and refers only to things that exist."""

import copy
import ipaddress
import itertools
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest

import worker
from tests.deploy import manifests, prometheus_rule
from worker.cli import main
from worker.settings import loader
from worker.sources.formats import yaml_format

FOLDER = manifests.DEPLOY / "kubernetes"
BASE, SERVICE, JOB, CLUSTER, MONITORING = (
    FOLDER / name for name in ("base", "service", "job", "cluster", "monitoring")
)
FILES = [
    path for path in sorted(FOLDER.rglob("*.yaml")) if path.name != "kustomization.yaml" and path.parent != MONITORING
]
KUSTOMIZATIONS = sorted(FOLDER.rglob("kustomization.yaml"))
OLDEST = "1.31"
"""The oldest version of Kubernetes in which every field is stable."""

DEPLOYMENT = manifests.document(SERVICE / "deployment.yaml")["spec"]
CRONJOB = manifests.document(JOB / "cronjob.yaml")["spec"]
PODS = [DEPLOYMENT["template"], CRONJOB["jobTemplate"]["spec"]["template"]]
FORMS = ["service", "job"]
EVERY_POD = [*PODS, manifests.document(CLUSTER / "deployment.yaml")["spec"]["template"]]
EVERY_FORM = [*FORMS, "cluster"]
CONFIG = manifests.document(BASE / "configmap.yaml")
SECRET = manifests.document(BASE / "secret.example.yaml")


def container(pod: Any) -> Any:
    [only] = pod["spec"]["containers"]
    return only


def environment(pod: Any) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container(pod).get("env", [])}


def mounts(pod: Any) -> Iterator[tuple[Any, Any]]:
    """Return every mount with its volume."""
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    named = [mount["name"] for mount in container(pod)["volumeMounts"]]
    assert sorted(named) == sorted(volumes)
    for mount in container(pod)["volumeMounts"]:
        yield mount, volumes[mount["name"]]


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_manifest_fits_its_schema(path: pathlib.Path, version: str) -> None:
    for document in manifests.documents(path):
        kubernetes_validate.validate(document, version, strict=True)
        assert document["metadata"]["name"] == "fleet-sync"
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "fleet-sync"


def test_a_misspelt_field_does_not_fit() -> None:
    """The check can fail: strict validation notices what the API server would silently drop."""
    broken = copy.deepcopy(manifests.document(SERVICE / "deployment.yaml"))
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_a_kustomization_names_every_file_beside_it_but_the_secret(path: pathlib.Path) -> None:
    told = manifests.document(path)
    assert set(told) <= {"apiVersion", "kind", "namespace", "resources", "images"}
    assert (told["apiVersion"], told["kind"]) == ("kustomize.config.k8s.io/v1beta1", "Kustomization")
    beside = {each.name for each in path.parent.glob("*.yaml")} - {path.name, "secret.example.yaml"}
    shared = [] if path.parent in (BASE, CLUSTER, MONITORING) else ["../base"]
    assert sorted(told["resources"]) == sorted([*shared, *beside])
    for image in told.get("images", []):
        assert (image["name"], image["newTag"]) == ("fleet-sync", worker.__version__)


@pytest.mark.parametrize("pod", EVERY_POD, ids=EVERY_FORM)
def test_the_image_is_the_present_version(pod: Any) -> None:
    assert container(pod)["image"] == f"fleet-sync:{worker.__version__}"


@pytest.mark.parametrize(
    ("pod", "command"), list(zip(EVERY_POD, ["run", "once", "worker"], strict=True)), ids=EVERY_FORM
)
def test_the_command_exists(pod: Any, command: str) -> None:
    assert container(pod)["args"] == [command]
    assert command in main.COMMANDS


@pytest.mark.parametrize("pod", EVERY_POD, ids=EVERY_FORM)
def test_a_pod_keeps_to_the_restricted_standard_and_more(pod: Any) -> None:
    spec, only = pod["spec"], container(pod)
    [owner] = set(re.findall(r"^USER (\d+):\1$", manifests.DOCKERFILE, re.MULTILINE))
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(owner),
        "runAsGroup": int(owner),
        "fsGroup": int(owner),
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert "limits" in only["resources"] and "cpu" not in only["resources"]["limits"]


@pytest.mark.parametrize("pod", EVERY_POD, ids=EVERY_FORM)
def test_a_drain_ends_before_the_kill(pod: Any) -> None:
    assert pod["spec"]["terminationGracePeriodSeconds"] > manifests.seconds_to_end()


@pytest.mark.parametrize("pod", EVERY_POD, ids=EVERY_FORM)
def test_every_variable_is_one_that_the_program_reads(pod: Any) -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (manifests.ROOT / "worker").rglob("*.py"))
    for name in environment(pod):
        assert "__" in name or f'"{name}"' in code, name


@pytest.mark.parametrize("pod", PODS, ids=FORMS)
def test_each_mount_is_where_the_image_looks(pod: Any) -> None:
    image = manifests.image_environment()
    kinds = {}
    for mount, volume in mounts(pod):
        assert "subPath" not in mount
        [kind] = set(volume) - {"name"}
        kinds[kind] = mount["mountPath"]
        assert mount.get("readOnly", False) is (kind in ("configMap", "secret"))
    assert kinds["configMap"] == str(pathlib.Path(image["FLEET_SYNC_CONFIG"]).parent)
    assert image["FLEET_SYNC_JOURNAL__URL"].startswith(f"sqlite:///{kinds['persistentVolumeClaim']}/")
    assert kinds["emptyDir"] == "/tmp"  # noqa: S108
    names = {path.rsplit("/", 1)[1] for name, path in environment(pod).items() if name.endswith("_FILE")}
    assert all(path.startswith(f"{kinds['secret']}/") for path in environment(pod).values())
    assert names <= set(SECRET["stringData"])


@pytest.mark.parametrize("pod", PODS, ids=FORMS)
def test_the_settings_load_in_the_pod_s_environment(pod: Any, tmp_path: pathlib.Path) -> None:
    for name, text in CONFIG["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    settings_file = pathlib.Path(manifests.image_environment()["FLEET_SYNC_CONFIG"]).name
    settings = loader.load(tmp_path / settings_file, {**manifests.image_environment(), **environment(pod)})
    listed = [settings.resolve_path(source.address).name for source in settings.sources]
    assert {settings_file, *listed} == set(CONFIG["data"])
    for name in listed:
        assert yaml_format.parse(CONFIG["data"][name]).data


def test_the_probes_and_the_service_lead_to_the_status_server(tmp_path: pathlib.Path) -> None:
    settings = tmp_path / "fleet-sync.toml"
    settings.write_text(CONFIG["data"]["fleet-sync.toml"], encoding="utf-8")
    host, _, port = loader.load(settings, {}).status.listen.rpartition(":")
    only = container(PODS[0])
    [opened] = only["ports"]
    assert (host, int(port)) == ("0.0.0.0", opened["containerPort"])  # noqa: S104
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert only[probe]["httpGet"] == {"path": path, "port": opened["name"]}
    service = manifests.document(SERVICE / "service.yaml")["spec"]
    [served] = service["ports"]
    assert (served["port"], served["targetPort"]) == (opened["containerPort"], opened["name"])
    assert service["publishNotReadyAddresses"] is True


def test_every_selector_finds_its_pods() -> None:
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    selectors = [
        DEPLOYMENT["selector"]["matchLabels"],
        manifests.document(SERVICE / "service.yaml")["spec"]["selector"],
        manifests.document(SERVICE / "poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    everyone = manifests.document(BASE / "networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"]
    for pod in PODS:
        assert everyone.items() <= pod["metadata"]["labels"].items()
    assert not selectors[0].items() <= PODS[1]["metadata"]["labels"].items()


def test_one_process_writes_to_the_journal() -> None:
    assert (DEPLOYMENT["replicas"], DEPLOYMENT["strategy"]) == (1, {"type": "Recreate"})
    assert CRONJOB["concurrencyPolicy"] == "Forbid"


def test_a_drain_of_the_node_is_not_blocked() -> None:
    budget = manifests.document(SERVICE / "poddisruptionbudget.yaml")["spec"]
    assert budget["maxUnavailable"] == DEPLOYMENT["replicas"]
    assert "minAvailable" not in budget


def test_a_job_that_ends_with_held_or_refused_changes_has_failed_once() -> None:
    job = CRONJOB["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert not {"podFailurePolicy", "successPolicy"} & set(job)


def test_the_network_is_open_to_names_https_and_the_monitoring_only() -> None:
    policy = manifests.document(BASE / "networkpolicy.yaml")["spec"]
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    out = [{(port["protocol"], port["port"]) for port in rule["ports"]} for rule in policy["egress"]]
    assert out == [{("UDP", 53), ("TCP", 53)}, {("TCP", 443)}]
    assert all(rule["to"] for rule in policy["egress"])
    [rule] = policy["ingress"]
    [origin] = rule["from"]
    assert origin == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert [port["port"] for port in rule["ports"]] == [port["name"] for port in container(PODS[0])["ports"]]


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "192.168.1.1", "fe80::1", "fd00::1"])
def test_what_is_private_cannot_be_reached_by_https(address: str) -> None:
    _, https = manifests.document(BASE / "networkpolicy.yaml")["spec"]["egress"]
    host = ipaddress.ip_address(address)
    for block in (peer["ipBlock"] for peer in https["to"]):
        networks = [ipaddress.ip_network(each) for each in (block["cidr"], *block["except"])]
        assert host not in networks[0] or any(host in network for network in networks[1:])


def test_the_secret_is_a_placeholder_and_in_no_kustomization() -> None:
    for path in FOLDER.rglob("secret.example.yaml"):
        values = manifests.document(path)["stringData"].values()
        assert all(text.startswith("REPLACE-WITH-") for text in values)
    named = itertools.chain.from_iterable(manifests.document(path)["resources"] for path in KUSTOMIZATIONS)
    assert not any("secret" in name for name in named)


# --- With the Prometheus operator ---------------------------------------------------------------------------

_TEXT = {"type": "string", "minLength": 1}
_NAMED = {"type": "object", "additionalProperties": _TEXT, "minProperties": 1}
_TIME = {"type": "string", "pattern": "^[0-9]+(s|m|h)$"}


def _object(optional: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


_RULE = _object(("for",), alert=_TEXT, expr=_TEXT, labels=_NAMED, annotations=_NAMED, **{"for": _TIME})
_GROUP = _object(name=_TEXT, rules={"type": "array", "items": _RULE, "minItems": 1})
_ENDPOINT = _object(port=_TEXT, path={"const": "/metrics"}, interval=_TIME, scrapeTimeout=_TIME)
_SPECS = {
    "PrometheusRule": _object(groups={"type": "array", "items": _GROUP, "minItems": 1}),
    "PodMonitor": _object(
        jobLabel=_TEXT,
        selector=_object(matchLabels=_NAMED),
        podMetricsEndpoints={"type": "array", "items": _ENDPOINT, "minItems": 1},
    ),
}
"""The fields of the operator's resources that we use, as its reference describes them; a cluster knows the others."""


@pytest.mark.parametrize("kind", _SPECS)
def test_a_resource_of_the_prometheus_operator_has_only_fields_that_it_knows(kind: str) -> None:
    document = manifests.document(MONITORING / f"{kind.lower()}.yaml")
    meta = _object(name={"const": "fleet-sync"}, namespace={"const": "fleet-sync"}, labels=_NAMED)
    version = {"const": "monitoring.coreos.com/v1"}
    schema = _object(apiVersion=version, kind={"const": kind}, metadata=meta, spec=_SPECS[kind])
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "spec": {**document["spec"], "misspelt": 1}}, schema)


def test_the_pod_monitor_finds_the_port_of_the_service_under_the_name_that_the_alerts_expect() -> None:
    monitor = manifests.document(MONITORING / "podmonitor.yaml")["spec"]
    labels = PODS[0]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert not monitor["selector"]["matchLabels"].items() <= PODS[1]["metadata"]["labels"].items(), "a job serves none"
    assert [each["port"] for each in monitor["podMetricsEndpoints"]] == [
        each["name"] for each in container(PODS[0])["ports"]
    ]
    assert f'job="{labels[monitor["jobLabel"]]}"' in prometheus_rule.RULES.read_text(encoding="utf-8")


def test_the_prometheus_rule_has_the_rules_that_promtool_tests() -> None:
    assert prometheus_rule.MANIFEST.read_text(encoding="utf-8") == prometheus_rule.text()
