"""`fleet-sync sources`."""

import json
import pathlib
import subprocess
import sys

from worker.settings import source_kinds

FLEET_SYNC = str(pathlib.Path(sys.executable).with_name("fleet-sync"))


def test_every_kind_is_listed_with_where_it_comes_from(tmp_path: pathlib.Path) -> None:
    arguments = [FLEET_SYNC, "--config", str(tmp_path / "none.toml"), "sources"]
    lines = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[kind, "fleet-sync"] for kind in source_kinds.KINDS]
    document = json.loads(subprocess.run([*arguments, "--json"], check=True, capture_output=True, text=True).stdout)
    assert [kind["kind"] for kind in document["kinds"]] == [*source_kinds.KINDS]
    assert all(kind["usable"] for kind in document["kinds"])


def test_settings_that_cannot_be_read_are_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "bad.toml").write_text("plugins = ['no-such-distribution']\n")
    arguments = [FLEET_SYNC, "--config", str(tmp_path / "bad.toml"), "sources"]
    ended = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert '"no-such-distribution" is not installed' in ended.stdout + ended.stderr
