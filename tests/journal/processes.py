"""Processes of their own that use a journal: to be killed, to be limited, to be looked at from outside.

Neighbours: `journal_factories` is what they do.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]

SECONDS = 40.0
"""How long one may take at most."""


def script(body: str) -> list[str]:
    """Write a program whose `main(journal)` is this, on the journal of its first argument."""
    main = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return [sys.executable, "-c", f"{_HEAD}\n\nasync def main(journal):\n{main}\n{_TAIL}"]


def run(body: str, *arguments: str, folder: pathlib.Path = ROOT) -> str:
    """Run a program to its end, which must be a good one, and give what it printed."""
    # Coverage is measured of this tree, not of a copy of it elsewhere.
    environ = {name: text for name, text in os.environ.items() if folder == ROOT or not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [*script(body), *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextlib.contextmanager
def running(body: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program, and kill it in the end."""
    command = [*script(body), *arguments]
    # stdin stays open: one that reads from it waits until it is killed, whatever ours is.
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


_HEAD = """
import sys

import anyio

from tests.journal import journal_factories
from worker.core.model import errors
from worker.journal import sql_journal
"""

_TAIL = """
journal = sql_journal.SqlJournal(sys.argv[1], clock=journal_factories.Clock())
anyio.run(main, journal, backend=sys.argv[2] if len(sys.argv) > 2 else "asyncio")
"""
