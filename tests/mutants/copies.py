"""A copy of the working tree, in which defects are planted and tests run.

Invariant: after each defect the copy is as it was. Neighbours: `__main__` and `generated` plant.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

ROOT = pathlib.Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", ".coverage*", "__pycache__")
NO_TESTS = 5
TOO_LONG = 124


class Copy:
    """A copy of the working tree, without what git and the tools keep there."""

    def __init__(self, folder: str) -> None:
        """Copy into an empty folder. `output` is what the last tests printed."""
        self._folder = pathlib.Path(folder)
        self.output = ""
        shutil.copytree(ROOT, self._folder, ignore=LEFT_OUT, dirs_exist_ok=True)

    def read(self, file: str) -> str:
        """Return the text of a file."""
        return (self._folder / file).read_text(encoding="utf-8")

    @contextlib.contextmanager
    def planted(self, file: str, defective: str) -> Iterator[None]:
        """Replace a file for the duration of the block."""
        sound = self.read(file)
        self._write(file, defective)
        try:
            yield
        finally:
            self._write(file, sound)

    def _write(self, file: str, text: str) -> None:
        """Write a file. Its bytecode goes: Python would take it for that of a file as long and from the same second."""
        path = self._folder / file
        path.write_text(text, encoding="utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()

    def test(self, tests: Sequence[str], *options: str, seconds: float) -> int:
        """Run these tests until the first fails, and return pytest's exit code, or `TOO_LONG`.

        The tests run in a process group of their own, which ends with them: a test that is cut off leaves nothing.
        """
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *options, *tests]
        # The commands that tests start must import the copy, not the tree that is installed.
        # Bytecode is kept even where the environment forbids it: compiling takes longer than most of the tests.
        environ = {**os.environ, "PYTHONPATH": str(self._folder), "PYTHONDONTWRITEBYTECODE": ""}
        with subprocess.Popen(
            command,
            cwd=self._folder,
            env=environ,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                output, _ = process.communicate(timeout=seconds)
                self.output = output.decode(errors="replace")
                return process.returncode
            except subprocess.TimeoutExpired:
                return TOO_LONG
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
