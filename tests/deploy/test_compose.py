"""deploy/compose is a valid Compose file, and its services work together."""

import json
import pathlib
from typing import Any

import jsonschema
import pytest

import worker
from tests.deploy import manifests
from tests.support import command, served
from worker.cli import main
from worker.sandbox import app, state
from worker.settings import loader, secrets

FOLDER = manifests.DEPLOY / "compose"
COMPOSE = manifests.document(FOLDER / "compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ["sandbox", "fleet-sync"]
SCHEMA = json.loads((pathlib.Path(__file__).parent / "compose-spec" / "compose-spec.json").read_text(encoding="utf-8"))


def problems(document: object) -> list[str]:
    return [problem.message for problem in jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)]


def mounts(service: str) -> dict[str, pathlib.Path]:
    """Return the mount points of our own files."""
    bound = [volume.split(":") for volume in SERVICES[service]["volumes"] if volume.startswith(".")]
    return {target: (FOLDER / source).resolve() for source, target, mode in bound if mode == "ro"}


def test_it_fits_the_compose_specification() -> None:
    assert problems(COMPOSE) == []


def test_a_misspelt_key_does_not_fit() -> None:
    """The check can fail."""
    assert problems({**COMPOSE, "services": {"sandbox": {**SERVICES["sandbox"], "capdrop": ["ALL"]}}})


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_the_present_version_without_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["image"] == f"fleet-sync:{worker.__version__}"
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["command"][0] in main.COMMANDS


def test_nothing_is_open_to_other_machines() -> None:
    opened = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert opened and all(port.startswith("127.0.0.1:") for port in opened)


def test_every_mount_is_there() -> None:
    for service in ("fleet-sync", "prometheus"):
        assert all(path.exists() for path in mounts(service).values())
    named = {each.split(":")[0] for service in SERVICES.values() for each in service.get("volumes", [])}
    assert {name for name in named if not name.startswith(".")} == set(COMPOSE["volumes"])


def test_a_drain_ends_before_the_kill() -> None:
    assert int(SERVICES["fleet-sync"]["stop_grace_period"].removesuffix("s")) > manifests.seconds_to_end()


def test_the_service_finds_the_sandbox_and_prometheus_the_service() -> None:
    environ = {**manifests.image_environment(), **SERVICES["fleet-sync"]["environment"]}
    settings_file = manifests.image_environment()["FLEET_SYNC_CONFIG"]
    [(folder, here)] = mounts("fleet-sync").items()
    settings = loader.load(here / pathlib.PurePath(settings_file).relative_to(folder), environ)
    assert environ["CHARGE_API_KEY"] == app.KEY
    assert secrets.status_token(environ)
    # Plain http is for loopback only, so both are in one network.
    assert SERVICES["fleet-sync"]["network_mode"] == "service:sandbox"
    port = SERVICES["sandbox"]["command"][SERVICES["sandbox"]["command"].index("--port") + 1]
    assert settings.charge.base_url == f"http://127.0.0.1:{port}/v1"
    _, _, served_at = settings.status.listen.rpartition(":")
    [name] = SERVICES["sandbox"]["networks"]["default"]["aliases"]
    [scraped] = manifests.document(FOLDER / "prometheus.yml")["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [f"{name}:{served_at}"]}]


def test_the_documents_suit_the_people_of_the_sandbox(tmp_path: pathlib.Path) -> None:
    """The first run changes something, nothing is held or unresolved, and a second run finds nothing to do."""
    with served.over_http(app.Sandbox(state.SandboxState.populate(drivers=300, fleets=12))) as url:
        account = command.Folder(tmp_path, url)
        for path in (FOLDER / "config").iterdir():
            account.write(path.read_text(encoding="utf-8"), path.name)
        override = {"FLEET_SYNC_CHARGE__BASE_URL": url}
        first = account.run("once", "--json", **override).document
        assert (first["exit_code"], first["outcomes"]["applied"]) == (0, 2)
        assert account.run("once", "--json", **override).document["result"] == "in_sync"


def test_promtool_accepts_prometheus_settings_as_they_are_mounted(tmp_path: pathlib.Path) -> None:
    for target, path in mounts("prometheus").items():
        (tmp_path / pathlib.PurePath(target).name).write_bytes(path.read_bytes())
    [config] = [option for option in SERVICES["prometheus"]["command"] if option.startswith("--config.file=")]
    manifests.accepts("promtool", "check", "config", str(tmp_path / pathlib.PurePath(config).name))
