"""Reads the files of deploy/, and runs the tools that check them.

Invariant: a missing tool skips a test, except with FLEET_SYNC_TEST_TOOLS=required, as in CI. Neighbours: every test of
this folder.
"""

import os
import pathlib
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from worker.settings import model

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FOR_THE_JOURNAL = 5
"""Seconds that docs/operations.md adds to the drain."""
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def documents(path: pathlib.Path) -> list[Any]:
    """Read every document of a YAML file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def document(path: pathlib.Path) -> Any:
    """Read the one document of a YAML file."""
    [found] = documents(path)
    return found


def image_environment() -> dict[str, str]:
    """Return the variables of fleet-sync that the image sets."""
    return dict(re.findall(r"(FLEET_SYNC_\w+)=(\S+)", DOCKERFILE))


def seconds_to_end() -> float:
    """Return the seconds that the service may take to end: the default drain plus the journal's time."""
    return model.Sync().drain_seconds + FOR_THE_JOURNAL


def run(*call: str, cwd: pathlib.Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool that checks files, or skip the test if it is missing and not required."""
    program, *arguments = call
    found = shutil.which(program)
    if found is None:
        message = f"{program} is not installed"
        if os.environ.get("FLEET_SYNC_TEST_TOOLS") == "required":
            pytest.fail(message)
        pytest.skip(message)
    return subprocess.run(
        [found, *arguments], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False
    )


def accepts(*call: str, cwd: pathlib.Path | None = None) -> str:
    """Run a tool that must succeed; return its output."""
    ended = run(*call, cwd=cwd)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said
