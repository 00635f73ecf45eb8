"""The deployment files of a cluster: the same standard as the others, and settings that the program accepts."""

import json
import pathlib

import jsonschema
import pytest

import worker
from tests.deploy import manifests, test_kubernetes
from worker.cli import main
from worker.settings import account_folder, loader

FOLDER = manifests.DEPLOY / "kubernetes" / "cluster"
DEPLOYMENT = manifests.document(FOLDER / "deployment.yaml")["spec"]
POD = DEPLOYMENT["template"]
DEFAULTS = manifests.document(FOLDER / "configmap.yaml")["data"]["_defaults.toml"]
COMPOSE_FOLDER = manifests.DEPLOY / "compose"
COMPOSE = manifests.document(COMPOSE_FOLDER / "cluster.yaml")
SCHEMA = json.loads((pathlib.Path(__file__).parent / "compose-spec" / "compose-spec.json").read_text(encoding="utf-8"))
OURS = ["account", "worker-1", "worker-2"]


@pytest.fixture
def defaults(tmp_path: pathlib.Path) -> account_folder.Defaults:
    """Return what the ConfigMap says."""
    (tmp_path / "_defaults.toml").write_text(DEFAULTS, encoding="utf-8")
    return account_folder.read_defaults(tmp_path)


def test_several_workers_run_and_one_at_a_time_is_replaced() -> None:
    assert DEPLOYMENT["replicas"] >= 2
    assert DEPLOYMENT["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    budget = manifests.document(FOLDER / "poddisruptionbudget.yaml")["spec"]
    assert budget["maxUnavailable"] == 1 < DEPLOYMENT["replicas"]


def test_every_selector_finds_the_workers() -> None:
    labels = POD["metadata"]["labels"]
    [spread] = POD["spec"]["topologySpreadConstraints"]
    selectors = [
        DEPLOYMENT["selector"]["matchLabels"],
        manifests.document(FOLDER / "service.yaml")["spec"]["selector"],
        manifests.document(FOLDER / "poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
        manifests.document(FOLDER / "networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_the_settings_name_what_is_mounted(defaults: account_folder.Defaults) -> None:
    kinds = {mount["name"]: mount["mountPath"] for mount, _ in test_kubernetes.mounts(POD)}
    environ = test_kubernetes.environment(POD)
    assert defaults.cluster is not None
    assert defaults.cluster.url_file == f"{kinds['secret']}/database-url"
    assert defaults.secrets.path == f"{kinds['keys']}/{{account}}"
    assert kinds["settings"] == environ["FLEET_SYNC_CONFIG"]
    assert "database-url" in manifests.document(FOLDER / "secret.example.yaml")["stringData"]
    assert loader.overriding({**manifests.image_environment(), **environ}) == []


def test_the_probes_and_the_service_lead_to_the_status_server(defaults: account_folder.Defaults) -> None:
    [opened] = test_kubernetes.container(POD)["ports"]
    assert defaults.status.listen == f"0.0.0.0:{opened['containerPort']}"
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert test_kubernetes.container(POD)[probe]["httpGet"] == {"path": path, "port": opened["name"]}
    [served] = manifests.document(FOLDER / "service.yaml")["spec"]["ports"]
    assert (served["port"], served["targetPort"]) == (opened["containerPort"], opened["name"])


def test_the_network_is_that_of_the_other_forms_and_open_to_the_database() -> None:
    base = manifests.document(test_kubernetes.BASE / "networkpolicy.yaml")["spec"]
    policy = manifests.document(FOLDER / "networkpolicy.yaml")["spec"]
    *shared, database = policy["egress"]
    assert (policy["ingress"], shared) == (base["ingress"], base["egress"])
    assert database["to"] and database["ports"] == [{"port": 5432, "protocol": "TCP"}]


# --- Compose ------------------------------------------------------------------------------------------------


def test_the_compose_file_fits_the_specification() -> None:
    assert [each.message for each in jsonschema.Draft202012Validator(SCHEMA).iter_errors(COMPOSE)] == []


@pytest.mark.parametrize("name", [*OURS, "sandbox"])
def test_our_containers_are_the_present_version_without_rights(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["image"] == f"fleet-sync:{worker.__version__}"
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["command"][0] in main.COMMANDS


def test_the_account_and_the_database_are_what_the_workers_expect() -> None:
    defaults = account_folder.read_defaults(COMPOSE_FOLDER / "cluster")
    account, server = COMPOSE["services"]["account"], COMPOSE["services"]["postgres"]["environment"]
    assert defaults.cluster is not None
    assert defaults.cluster.url == (
        f"postgresql://{server['POSTGRES_USER']}:{server['POSTGRES_PASSWORD']}@postgres/{server['POSTGRES_DB']}"
    )
    name, path = account["command"][2], pathlib.PurePath(account["command"][4])
    layer = loader.read(COMPOSE_FOLDER / "cluster" / path.name)
    settings = account_folder.of_cluster(
        name, layer, folder=COMPOSE_FOLDER / "cluster", defaults=defaults, database=defaults.cluster.url
    )
    assert settings.key_place is not None
    for service in OURS:
        environ = COMPOSE["services"][service]["environment"]
        assert settings.key_place.variable in environ
        assert loader.overriding({**manifests.image_environment(), **environ}) == []
    assert all(settings.resolve_path(source.address).exists() for source in settings.sources)
    port = COMPOSE["services"]["sandbox"]["command"][-1]
    assert settings.charge.base_url == f"http://127.0.0.1:{port}/v1"
    assert COMPOSE["services"]["worker-1"]["network_mode"] == "service:sandbox"


def test_a_drain_ends_before_the_kill() -> None:
    for name in ("worker-1", "worker-2"):
        grace = COMPOSE["services"][name]["stop_grace_period"]
        assert int(grace.removesuffix("s")) > manifests.seconds_to_end()
