"""The curl examples of docs/operations.md work as they are written."""

import json
import pathlib
import re
import subprocess

import pytest

from tests.deploy import manifests
from tests.docs import pages
from tests.support import command

TOKEN = "0123456789abcdef"
SECTION = pages.page("docs/operations.md").section("## As a service")
EXAMPLES = [line for block in SECTION.blocks("sh") for line in block.lines if line.startswith("curl ")]


@pytest.mark.real
def test_every_example_is_answered(sandbox: tuple[command.Running, str], tmp_path: pathlib.Path) -> None:
    assert len(EXAMPLES) == 5
    manifests.run("curl", "--version")
    found = re.search(r"http://\S+/v1", sandbox[1])
    assert found
    folder = command.Folder(tmp_path, found[0])
    rows = folder.run("export").stdout.splitlines()
    folder.write("\n".join([*rows[:-20], ""]))  # so many detaches are held, and can be approved
    with folder.started("run", FLEET_SYNC_STATUS__LISTEN="127.0.0.1:0", FLEET_SYNC_STATUS_TOKEN=TOKEN) as running:
        assert running.process.stderr is not None
        serving = json.loads(next(line for line in running.process.stderr if '"serving"' in line))
        held = json.loads(next(line for line in running.process.stderr if '"run_finished"' in line))
        port = serving["url"].rpartition(":")[2].strip("/")
        for line in EXAMPLES:
            ended = subprocess.run(
                ["/bin/sh", "-c", line.replace("8080", port)],
                env={"PATH": "/usr/bin:/bin", "FLEET_SYNC_STATUS_TOKEN": TOKEN, "DIGEST": held["digest"]},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            assert ended.returncode == 0, (line, ended.stderr)
            assert ended.stdout, line
