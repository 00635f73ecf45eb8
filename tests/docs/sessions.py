"""A reader who types what the README shows, and compares.

Invariant: every command of a block is run, in order, in one folder and one environment; a line `…` stands for any
lines, and nothing else is forgiven but what differs from run to run: durations, ids of runs, moments, digests, ports.
Neighbours: `test_readme` has the reader.
"""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess

from tests.docs import pages
from tests.support import command

GAP = "…"
INTERRUPT = "^C"
PORT = "8765"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_VARYING = (
    (re.compile(r"\b\d+\.\d s\b"), "N s"),
    (re.compile(r'"seconds":[\d.]+'), '"seconds":N'),
    (re.compile(r"\brun_[0-9a-f]{32}\b"), "run_…"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "T"),
    (_DIGEST, "sha256:…"),
)


@dataclasses.dataclass(slots=True)
class Session:
    """A shell in a folder; `port` is where the sandbox really listens."""

    folder: pathlib.Path
    port: str
    environ: dict[str, str] = dataclasses.field(default_factory=dict)
    code: int = 0
    digest: str = ""

    def play(self, block: pages.Block) -> None:
        """Run the commands of a block, and compare what each prints."""
        for line, expected in steps(block):
            printed = self.run(line, interrupt=INTERRUPT in expected)
            compare(line, printed, [each for each in expected if each != INTERRUPT])

    def run(self, line: str, *, interrupt: bool) -> str:
        """Run one line as the shell would; give stdout and stderr as a terminal shows them."""
        if line == "echo $?":
            return f"{self.code}\n"
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.environ[name] = value.replace(PORT, self.port)
            return ""
        with subprocess.Popen(
            ["/bin/sh", "-c", _DIGEST.sub(self.digest, line)],
            cwd=self.folder,
            env=self._environment(line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            printed = process.stdout.readline() if interrupt else ""
            if interrupt:
                os.killpg(process.pid, signal.SIGINT)
            printed += process.stdout.read()
        self.code = process.returncode
        if shown := _DIGEST.search(printed):
            self.digest = shown[0]
        return printed.replace(f":{self.port}", f":{PORT}")

    def _environment(self, line: str) -> dict[str, str]:
        """Give the environment of a terminal: there only `run` logs what needs nobody's attention."""
        quiet = {} if line.endswith(" run") else {"FLEET_SYNC_LOG_LEVEL": "warning"}
        path = f"{command.PROGRAM.parent}{os.pathsep}{os.defpath}"
        return {**command.environment(self.environ), "PATH": path, **quiet}

    def edit(self, block: pages.Block, name: str) -> None:
        """Do to a file what a block of a difference says."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        before = "".join(f"{line[1:]}\n" for line in block.lines if line[0] in " -")
        after = "".join(f"{line[1:]}\n" for line in block.lines if line[0] in " +")
        assert text.count(before) == 1, f"the difference does not fit the document:\n{before}"
        path.write_text(text.replace(before, after), encoding="utf-8")


def steps(block: pages.Block) -> list[tuple[str, list[str]]]:
    """Cut a block into commands, each with the lines that it prints. `make demo` prints commands of its own."""
    found: list[tuple[str, list[str]]] = []
    for line in block.lines:
        if line.startswith("$ ") and not (found and found[0][0] == "make demo"):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def compare(line: str, printed: str, expected: list[str]) -> None:
    """Compare what a command printed with what the page shows."""
    pattern = "".join(r"(?:.*\n)*?" if each == GAP else re.escape(_settled(each)) + r"\n" for each in expected)
    shown = "\n".join(expected)
    assert re.fullmatch(pattern, _settled(printed)), f"$ {line}\nprints\n{printed}\nbut the page shows\n{shown}"


def _settled(text: str) -> str:
    for pattern, settled in _VARYING:
        text = pattern.sub(settled, text)
    return text
