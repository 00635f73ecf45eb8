"""Reads what stands in deploy/, and knows where the tools are that judge it.

Invariant: a tool that is missing skips a test only where nobody insisted on it: CI says FLEET_SYNC_TEST_TOOLS=required.
Neighbours: every test of this folder.
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
"""Seconds that docs/operations.md gives on top of the drain."""
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def documents(path: pathlib.Path) -> list[Any]:
    """Read every document of a YAML file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def document(path: pathlib.Path) -> Any:
    """Read the one document of a YAML file."""
    [found] = documents(path)
    return found


def image_environment() -> dict[str, str]:
    """Give the variables of ours that the image sets."""
    return dict(re.findall(r"(FLEET_SYNC_\w+)=(\S+)", DOCKERFILE))


def seconds_to_end() -> float:
    """Give how long the service may take to end: the default's drain, and what the journal needs after it."""
    return model.Sync().drain_seconds + FOR_THE_JOURNAL


def run(*call: str, cwd: pathlib.Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool that judges files, or skip the test where it may be missing."""
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
    """Run a tool that must be content; give what it said."""
    ended = run(*call, cwd=cwd)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said
