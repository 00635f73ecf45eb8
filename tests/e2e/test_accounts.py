"""`run` on a folder of accounts, as the operator sees it: pages, metrics, files that come and go, and the end."""

import contextlib
import json
import pathlib
import re
import signal
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support import command, served
from worker.sandbox import app, state


def write(folder: pathlib.Path, name: str, url: str) -> None:
    """Write an account whose document misses one membership of its Charge."""
    (folder / f"key-{name}").write_text(app.KEY)
    settings = command.SETTINGS.format(url=url, source=f"{name}.yaml")
    (folder / f"{name}.toml").write_text(settings)


@contextlib.contextmanager
def charge(folder: pathlib.Path, name: str) -> Iterator[tuple[app.Sandbox, str]]:
    """Serve a Charge, and write a document that misses one of its memberships."""
    made = app.Sandbox(state.SandboxState.populate(drivers=6, fleets=2))
    members = {fleet: sorted(made.state.members(fleet)) for fleet in made.state.fleets}
    next(drivers for drivers in members.values() if len(drivers) > 1).pop()
    (folder / f"{name}.yaml").write_text(command.document(members))
    with served.over_http(made) as url:
        yield made, url


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a folder without accounts."""
    (tmp_path / "_defaults.toml").write_text(
        '[secrets]\npath = "key-{account}"\n[status]\nlisten = "127.0.0.1:0"\n[sync]\ndetach_grace_seconds = 0.0\n'
    )
    return tmp_path


def test_one_command_keeps_every_account_and_serves_all_of_them(folder: pathlib.Path) -> None:
    with charge(folder, "acme") as (acme, acme_url), charge(folder, "bolt") as (bolt, bolt_url):
        write(folder, "acme", acme_url)
        write(folder, "bolt", bolt_url)
        with _running(folder) as lines:
            page = lines.until("serving")["url"]
            finished = [lines.until("run_finished") for _ in range(2)]
            assert {(line["account"], line["result"]) for line in finished} == {
                ("acme", "converged"),
                ("bolt", "converged"),
            }
            overview = urllib.request.urlopen(page).read().decode()  # noqa: S310 - loopback
            assert sorted(re.findall(r'href="/accounts/(\w+)/"', overview)) == ["acme", "bolt"]
            metrics = urllib.request.urlopen(f"{page}metrics").read().decode()  # noqa: S310
            assert 'fleet_sync_accounts{condition="in_sync"} 2.0' in metrics
        for each in (acme, bolt):
            assert [effect.action for effect in each.state.effects if effect.changed] == ["detach"]


@pytest.mark.slow
def test_files_that_come_and_go_take_effect(folder: pathlib.Path) -> None:
    """As tests/service/test_account_supervisor.py has it, with the real pauses between two looks."""
    with charge(folder, "acme") as (_, acme_url), charge(folder, "bolt") as (_, bolt_url):
        write(folder, "acme", acme_url)
        with _running(folder) as lines:
            lines.until("run_finished")
            write(folder, "bolt", bolt_url)
            assert lines.until("run_finished")["account"] == "bolt"
            (folder / "acme.toml").unlink()
            assert lines.until("account_removed")["account"] == "acme"


def test_once_reconciles_the_account_that_is_named(folder: pathlib.Path) -> None:
    with charge(folder, "acme") as (acme, url):
        write(folder, "acme", url)
        once = command.run("--config", str(folder), "--account", "acme", "once", "--json")
    assert (once.code, once.document["result"]) == (0, "converged")
    assert (folder / "acme.db").exists()
    assert len([effect for effect in acme.state.effects if effect.changed]) == 1


def test_a_new_account_of_the_folder_starts_in_sync_with_what_its_charge_holds(folder: pathlib.Path) -> None:
    with charge(folder, "acme") as (acme, url):
        (folder / "acme.yaml").unlink()
        (folder / "key-acme").write_text(app.KEY)
        with (folder / "_defaults.toml").open("a") as defaults:
            defaults.write(f'[charge]\nbase_url = "{url}"\n')
        account = ("--config", str(folder), "--account", "acme")
        made = command.run(*account, "init", "--from-account")
        assert (made.code, made.stderr) == (0, "")
        assert "secret key" not in made.stdout
        once = command.run(*account, "once", "--json")
    assert (once.code, once.document["result"]) == (0, "in_sync")
    assert acme.state.effects == []


@contextlib.contextmanager
def _running(folder: pathlib.Path) -> "Iterator[_Lines]":
    """Run the service until the end of the block; it ends by SIGTERM, and never shows a key."""
    with command.started("--config", str(folder), "--log-format", "json", "run") as running:
        lines = _Lines(running)
        yield lines
        running.signal(signal.SIGTERM)
        ended = running.end()
        assert ended.code == 143
        assert app.KEY not in lines.text + ended.stderr


class _Lines:
    """The log of a running command, read line by line."""

    def __init__(self, running: command.Running) -> None:
        self._running = running
        self.text = ""

    def until(self, event: str) -> dict[str, str]:
        """Return the next line with this event."""
        assert self._running.process.stderr
        for line in self._running.process.stderr:
            self.text += line
            found: dict[str, str] = json.loads(line)
            if found["event"] == event:
                return found
        raise AssertionError(f"the log ended without {event}:\n{self.text}")
