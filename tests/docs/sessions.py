"""Run the commands that a page shows and compare their output with the page.

Invariant: every command of a block is run, in order, in one folder and one environment; a line that is more than one
command of ours is run by a shell. A line `…` matches any lines.
Only values that differ from run to run may differ: durations, times, digests, ports, and ids of runs; an id that
the page shows twice must be the same id both times.
Neighbours: `test_readme` and `test_reference` play sessions.
"""

import dataclasses
import os
import pathlib
import re
import shlex
import signal
import subprocess

from tests.docs import pages
from tests.support import command

GAP = "…"
INTERRUPT = "^C"
PORT = "8765"

_PLAIN = re.compile(r"fleet-sync [^|&;<>()$`\\*?\[#~\n]+")
_MOVE = re.compile(r"(?:^|&& )cd (\S+)$")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RUN = re.compile(r"\brun_[0-9a-f]{32}\b")
_BEGINNING = re.compile(r"\brun_[0-9a-f]+\b")
_VARYING = (
    (re.compile(r"\b\d+\.\d s\b"), "N s"),
    (re.compile(r'"seconds":[\d.]+'), '"seconds":N'),
    (re.compile(r"\breq_[0-9]{32}\b"), "req_…"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "T"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"), "T"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"), "T"),
    (_DIGEST, "sha256:…"),
)


@dataclasses.dataclass(slots=True)
class Session:
    """A shell in a folder, in which a line may end with `cd`; `port` is the real port of the sandbox."""

    folder: pathlib.Path
    port: str
    environ: dict[str, str] = dataclasses.field(default_factory=dict)
    code: int = 0
    digest: str = ""
    runs: dict[str, str] = dataclasses.field(default_factory=dict)
    """The real ids of runs by the ids that the page shows."""

    def play(self, block: pages.Block) -> None:
        """Run the commands of a block and compare what each prints."""
        for line, expected in steps(block):
            printed = self.run(line, interrupt=INTERRUPT in expected)
            self._meet(compare(line, printed, [each for each in expected if each != INTERRUPT]))

    def run(self, line: str, *, interrupt: bool) -> str:
        """Run one line as a shell does; return stdout and stderr as a terminal shows them."""
        if line == "echo $?":
            return f"{self.code}\n"
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.environ[name] = value.replace(PORT, self.port)
            return ""
        real = _BEGINNING.sub(self._real, _DIGEST.sub(self.digest, line))
        is_plain = _PLAIN.fullmatch(real) and not interrupt
        printed = self._fork(real) if is_plain else self._shell(real, interrupt=interrupt)
        if self.code == 0 and (moved := _MOVE.search(line)):
            self.folder = (self.folder / moved[1]).resolve()
        if shown := _DIGEST.search(printed):
            self.digest = shown[0]
        return printed.replace(f":{self.port}", f":{PORT}")

    def _fork(self, line: str) -> str:
        """Run one command of ours as most tests do, and not by a shell: it takes a quarter of the time."""
        reading, writing = os.pipe()
        with os.fdopen(reading, encoding="utf-8") as output:
            try:
                _, *arguments = shlex.split(line)
                running = command.start(
                    *arguments, environ=self._environment(line), cwd=self.folder, stdout=writing, stderr=writing
                )
            finally:
                os.close(writing)
            printed = output.read()
        self.code = running.end().code
        return printed

    def _shell(self, line: str, *, interrupt: bool) -> str:
        with subprocess.Popen(
            ["/bin/sh", "-c", line],
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
        return printed

    def _meet(self, pairs: list[tuple[str, str]]) -> None:
        """Remember which real id belongs to each id that the page shows."""
        for shown, real in pairs:
            assert self.runs.setdefault(shown, real) == real, f"{shown} is shown for two runs"

    def _real(self, shown: re.Match[str]) -> str:
        """Return the beginning of the real id for the beginning of one that the page shows."""
        [real] = [real for each, real in self.runs.items() if each.startswith(shown[0])]
        return real[: len(shown[0])]

    def _environment(self, line: str) -> dict[str, str]:
        """Return the environment of a terminal, where only `run` logs below level warning."""
        quiet = {} if line.endswith(" run") else {"FLEET_SYNC_LOG_LEVEL": "warning"}
        path = f"{command.PROGRAM.parent}{os.pathsep}{os.defpath}"
        return {**command.environment(self.environ), "PATH": path, **quiet}

    def edit(self, block: pages.Block, name: str) -> None:
        """Apply a diff block to a file."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        before = "".join(f"{line[1:]}\n" for line in block.lines if line[0] in " -")
        after = "".join(f"{line[1:]}\n" for line in block.lines if line[0] in " +")
        assert text.count(before) == 1, f"the difference does not fit the document:\n{before}"
        path.write_text(text.replace(before, after), encoding="utf-8")


def steps(block: pages.Block) -> list[tuple[str, list[str]]]:
    """Split a block into commands, each with the lines that it prints. `make demo` prints commands of its own."""
    found: list[tuple[str, list[str]]] = []
    for line in block.lines:
        if line.startswith("$ ") and not (found and found[0][0] == "make demo"):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def compare(line: str, printed: str, expected: list[str]) -> list[tuple[str, str]]:
    """Compare printed with expected output; return pairs of run ids: the one on the page and the real one."""
    pattern = "".join(r"(?:.*\n)*?" if each == GAP else _pattern(each) for each in expected)
    shown = "\n".join(expected)
    found = re.fullmatch(pattern, _settled(printed))
    assert found, f"$ {line}\nprints\n{printed}\nbut the page shows\n{shown}"
    return list(zip(_RUN.findall(shown), found.groups(), strict=True))


def _pattern(line: str) -> str:
    """Return a pattern for a line of the page in which any run id matches."""
    return _RUN.sub(r"(run_[0-9a-f]{32})", re.escape(_settled(line))) + r"\n"


def _settled(text: str) -> str:
    for pattern, settled in _VARYING:
        text = pattern.sub(settled, text)
    return text
