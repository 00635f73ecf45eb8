"""The example of a plugin: installed as an operator would, it passes its own tests and is read by the program."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FLEET_SYNC = str(pathlib.Path(sys.executable).with_name("fleet-sync"))

SETTINGS = """plugins = ["fleet_sync.directory"]

[[sources]]
kind = "directory"
url = "{url}"
token_file = "token"
groups = {{ "Paris vans" = "grp_paris", "Lyon vans" = "grp_lyon" }}
"""

SERVE = """
import sys
from fleet_sync_directory import imitation
directory = imitation.Directory()
directory.change({"grp_paris": ["a@b.test", "c@d.test", "e@f.test"], "grp_lyon": ["grp_paris", "x@y.test"]})
with directory.serving() as url:
    print(imitation.TOKEN, url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the plugin into a folder of its own; return the environment in which it is found."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(ROOT / "examples" / "source-plugin", folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(folder / "site"), str(folder / "source")]
    subprocess.run([*command, *options], check=True, cwd=folder)
    return {**os.environ, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}"}


@pytest.fixture
def account(installed: dict[str, str], tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Serve the imitation, and return the folder of an account that reads it."""
    arguments = [sys.executable, "-c", SERVE]
    with subprocess.Popen(
        arguments, env=installed, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None
        token, url = serving.stdout.readline().split()
        (tmp_path / "token").write_text(token)
        (tmp_path / "fleet-sync.toml").write_text(SETTINGS.format(url=url))
        yield tmp_path
        serving.communicate()


def fleet_sync(account: pathlib.Path, environ: dict[str, str], *arguments: str) -> str:
    command = [FLEET_SYNC, "--config", str(account / "fleet-sync.toml"), *arguments]
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True, cwd=account).stdout


def test_it_passes_its_own_tests(installed: dict[str, str], tmp_path: pathlib.Path) -> None:
    tests = ROOT / "examples" / "source-plugin" / "tests"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    ended = subprocess.run(command, env=installed, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "11 passed" in ended.stdout


def test_the_program_reads_it(account: pathlib.Path, installed: dict[str, str]) -> None:
    assert fleet_sync(account, installed, "check").endswith("OK: 2 fleets, 7 memberships; no request was made.\n")


def test_its_kind_is_listed_with_where_it_comes_from(account: pathlib.Path, installed: dict[str, str]) -> None:
    listed = json.loads(fleet_sync(account, installed, "sources", "--json"))
    directory = {"kind": "directory", "from": "fleet-sync-directory", "version": "0.1.0", "usable": True}
    assert listed["kinds"][-1] == directory
    (account / "fleet-sync.toml").unlink()
    assert 'not used: add "fleet-sync-directory" to plugins' in fleet_sync(account, installed, "sources")
