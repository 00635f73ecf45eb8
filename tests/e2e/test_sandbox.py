"""`fleet-sync sandbox` and `fleet-sync demo`: the imitation of Charge on this machine."""

import pathlib
import re
import signal

import httpx

from tests.support import command
from worker.sandbox import app


def _url(running: command.Running) -> str:
    """Return the URL from the first line of output."""
    assert running.process.stdout is not None
    line = running.process.stdout.readline()
    found = re.fullmatch(
        r"Sandbox with (\d+) drivers in (\d+) fleets at (http://127\.0\.0\.1:\d+/v1), key (\w+)\. "
        r"Press Ctrl\+C to stop\.\n",
        line,
    )
    assert found, line
    assert found[4] == app.KEY
    return found[3]


def test_it_serves_until_a_signal_with_the_faults_that_are_asked_for() -> None:
    with command.started("sandbox", "--port", "0", "--drivers", "7", "--fleets", "2", "--fault", "503=1") as running:
        url = _url(running)
        answer = httpx.get(f"{url}/drivers", headers={"Authorization": f"Bearer {app.KEY}"}, trust_env=False)
        assert answer.status_code == 503
        running.signal(signal.SIGTERM)
        ended = running.end()
    assert (ended.code, ended.stdout, ended.stderr) == (143, "", "")


def test_the_command_works_on_it(tmp_path: pathlib.Path) -> None:
    with command.started("sandbox", "--port", "0", "--drivers", "7", "--fleets", "2") as running:
        folder = command.Folder(tmp_path, _url(running))
        folder.write(folder.run("export", "--by", "email").stdout)
        ended = folder.run("once", "--json")
        running.signal(signal.SIGINT)
        assert running.end() == command.Ended(130, "", "")
    assert (ended.code, ended.document["plan"]["summary"]["fleets"]) == (0, 2)


def test_a_taken_port_is_said(tmp_path: pathlib.Path) -> None:
    with command.started("sandbox", "--port", "0", "--drivers", "0") as running:
        port = _url(running).split(":")[2].removesuffix("/v1")
        ended = command.run("sandbox", "--port", port)
    assert ended.code == 1
    remedy = "choose another with --port; 0 is any free port"
    assert ended.stderr == f"Error: port {port} cannot be used (Address already in use): {remedy}\n"


def test_the_demo_shows_the_whole_job_and_leaves_nothing(tmp_path: pathlib.Path) -> None:
    """The demo ignores settings and keys of real accounts in the environment."""
    mine = {"FLEET_SYNC_CONFIG": "/nowhere.toml", "FLEET_SYNC_SYNC__MODE": "loose", "CHARGE_API_KEY": "ch_sk_live_real"}
    ended = command.run("demo", environ={"TMPDIR": str(tmp_path), **mine})
    assert (ended.code, ended.stderr) == (0, "")
    assert re.findall(r"^\$ (.*)$", ended.stdout, re.MULTILINE) == [
        "fleet-sync plan",
        "fleet-sync once",
        "fleet-sync once",
    ]
    last = ended.stdout.rpartition("$ fleet-sync once\n")[2]
    assert re.fullmatch(
        r"In sync: \d+ memberships in 12 fleets\.\nNothing was changed\.\n4 reads, 0 writes; .*\n", last
    )
    assert "8 applied" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_ended_leaves_nothing_either(tmp_path: pathlib.Path) -> None:
    with command.started("demo", environ={"TMPDIR": str(tmp_path)}) as running:
        command.until(lambda: any(tmp_path.glob("*/fleet-sync.toml")), what="its folder")
        running.signal(signal.SIGTERM)
        assert running.end().code == 143
    assert list(tmp_path.iterdir()) == []
