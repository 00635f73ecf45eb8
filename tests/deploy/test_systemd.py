"""deploy/systemd is valid, as confined as it claims, and consistent with the image."""

import configparser
import pathlib
import re
import sys

import pytest

from tests.deploy import manifests
from worker.cli import main

FOLDER = manifests.DEPLOY / "systemd"
SERVICES = ["fleet-sync.service", "fleet-sync-once.service"]
WORKER = "fleet-sync-worker@.service"
TIMER = "fleet-sync-once.timer"
EXPOSURE = 11
"""The highest exposure that systemd may measure, in tenths, out of 100."""

PLACES = {"Environment", "LoadCredential", "StateDirectory", "StateDirectoryMode"}

PER_FORM = re.compile(r"^(#|\[|Exec|Type=|Restart|TimeoutStartSec=|$)")


def section(name: str, heading: str) -> list[tuple[str, str]]:
    """Return the settings of a section in order; a name may occur several times."""
    lines = (FOLDER / name).read_text(encoding="utf-8").split(f"[{heading}]\n", 1)[1].split("\n[", 1)[0].splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return [(key, value) for key, _, value in pairs]


def value(name: str, key: str) -> str:
    [found] = [text for each, text in section(name, "Service") if each == key]
    return found


def environment(name: str) -> dict[str, str]:
    pairs = [text.partition("=") for key, text in section(name, "Service") if key == "Environment"]
    return {variable: text for variable, _, text in pairs}


@pytest.fixture
def units(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a copy of the units that start an existing program, because fleet-sync may not be installed."""
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^(Exec\w+=)\S+", rf"\1{sys.executable}", text, flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    return tmp_path


def test_systemd_understands_every_line(units: pathlib.Path) -> None:
    said = manifests.accepts(
        "systemd-analyze", "verify", "--man=no", *(str(units / name) for name in [*SERVICES, WORKER, TIMER])
    )
    assert not [line for line in said.splitlines() if "fleet-sync" in line]


def test_a_misspelt_line_is_noticed(units: pathlib.Path) -> None:
    """The check can fail: systemd reports the line, and ignores it."""
    path = units / SERVICES[0]
    path.write_text(path.read_text(encoding="utf-8").replace("ProtectSystem=strict", "ProtectSystems=strict"))
    ended = manifests.run("systemd-analyze", "verify", "--man=no", str(path))
    assert "ProtectSystems" in ended.stdout + ended.stderr


@pytest.mark.parametrize("name", [*SERVICES, WORKER])
def test_a_service_is_shut_in_as_far_as_we_say(name: str, units: pathlib.Path) -> None:
    said = manifests.accepts(
        "systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}", str(units / name)
    )
    assert f"Overall exposure level for {name.replace('@.', '@i.')}" in said


def test_a_service_that_is_shut_in_less_is_noticed(units: pathlib.Path) -> None:
    """The check can fail: one line less is too much exposure."""
    path = units / SERVICES[0]
    path.write_text(path.read_text(encoding="utf-8").replace("ProtectSystem=strict", "ProtectSystem=no"))
    call = ("systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}", str(path))
    assert manifests.run(*call).returncode != 0


def test_both_forms_have_the_same_user_places_and_walls() -> None:
    shared = [
        [line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if not PER_FORM.match(line)]
        for name in SERVICES
    ]
    both = [[line for line in lines if line.partition("=")[0] not in ("Description", "WantedBy")] for lines in shared]
    assert [line for line in both[0] if line != "StartLimitIntervalSec=0"] == both[1]


@pytest.mark.parametrize(("name", "command"), [(SERVICES[0], "run"), (SERVICES[1], "once"), (WORKER, "worker")])
def test_the_command_exists(name: str, command: str) -> None:
    program, *arguments = value(name, "ExecStart").split()
    assert (pathlib.PurePath(program).name, arguments) == ("fleet-sync", [command])
    assert command in main.COMMANDS


@pytest.mark.parametrize("name", SERVICES)
def test_settings_and_journal_are_where_the_image_has_them(name: str) -> None:
    image, here = manifests.image_environment(), environment(name)
    assert {variable: here[variable] for variable in image} == image
    assert f"/var/lib/{value(name, 'StateDirectory')}/" in here["FLEET_SYNC_JOURNAL__URL"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_key_is_a_credential_and_no_variable(name: str) -> None:
    credential, _, _ = value(name, "LoadCredential").partition(":")
    assert environment(name)["CHARGE_API_KEY_FILE"] == f"%d/{credential}"
    assert "CHARGE_API_KEY" not in environment(name)


@pytest.mark.parametrize("name", [*SERVICES, WORKER])
def test_a_drain_ends_before_the_kill_and_is_no_failure(name: str) -> None:
    assert value(name, "KillSignal") == "SIGTERM"
    assert int(value(name, "TimeoutStopSec")) > manifests.seconds_to_end()
    assert value(name, "SuccessExitStatus") == "143"


def test_the_service_comes_again_but_not_after_wrong_usage() -> None:
    assert value(SERVICES[0], "Restart") == "on-failure"
    assert value(SERVICES[0], "RestartPreventExitStatus") == "64"
    assert value(SERVICES[0], "ExecReload").endswith("kill -HUP $MAINPID")


def test_a_worker_comes_again_and_has_the_folder_of_its_instance() -> None:
    assert value(WORKER, "Restart") == "on-failure"
    assert environment(WORKER) == {"FLEET_SYNC_CONFIG": "/etc/fleet-sync/%i"}


def test_a_worker_has_the_walls_of_the_service() -> None:
    both = [
        [line for line in section(name, "Service") if line[0] not in {"ExecStart", "ExecReload", "TasksMax", *PLACES}]
        for name in (SERVICES[0], WORKER)
    ]
    assert both[0] == both[1]


def test_the_user_is_made_by_the_file_beside() -> None:
    made = (FOLDER / "fleet-sync.sysusers.conf").read_text(encoding="utf-8").splitlines()[-1]
    for name in [*SERVICES, WORKER]:
        assert made.startswith(f"u {value(name, 'User')} ")
        assert value(name, "Group") == value(name, "User")


def test_the_timer_starts_the_job_and_ends_the_service() -> None:
    timer = configparser.ConfigParser()
    timer.read(FOLDER / TIMER, encoding="utf-8")
    assert pathlib.PurePath(TIMER).stem == pathlib.PurePath(SERVICES[1]).stem
    assert timer["Unit"]["conflicts"] == SERVICES[0]
    assert timer["Timer"]["oncalendar"]


def test_systemd_can_read_the_calendar() -> None:
    calendar = (FOLDER / TIMER).read_text(encoding="utf-8").split("OnCalendar=", 1)[1].splitlines()[0]
    assert "Next elapse: " in manifests.accepts("systemd-analyze", "calendar", calendar)
