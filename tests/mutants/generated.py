"""`python -m tests.mutants.generated [--number N] [--seed S]`: new random mutants, tested by the tests nearest to each.

Invariant: the same seed gives the same mutants of the same code; the exit code is 1 if fewer than 90 % are caught.
Quick tests come first, because most mutants need no others. A survivor that matters becomes a test and an entry of
`former_survivors`. Neighbours: `mutations` makes the mutants, `copies` the trees they are planted in.
"""

import ast
import concurrent.futures
import contextlib
import functools
import os
import pathlib
import queue
import random
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence

import click

from tests.mutants import copies, mutations
from worker.cli import main as main_command

GOAL = 0.9
OPTIONS = ("--hypothesis-profile", "fast", "-o", "faulthandler_exit_on_timeout=true")
"""A test that hangs fails after the time that `pyproject.toml` gives every test."""

UNITS = "not (real or slow or integration or second_loop)"
OTHERS = "(integration or second_loop) and not (real or slow)"
WITH_POSTGRES = ("-m", "real and not slow")
SURVIVED = (0, copies.NO_TESTS)
COMMANDS = tuple(f"tests/e2e/test_{name}.py" for name in ("once", "plan", "output", "check", "terminal"))
SERVICE = ("tests/e2e/test_service.py", "tests/e2e/test_run.py", "tests/e2e/test_signals.py")
FURTHER = {"cli": COMMANDS, "logs": COMMANDS, "settings": ("tests/e2e/test_check.py",), "service": SERVICE}
"""Tests of a package outside of its own folder, which start commands and so import nothing."""

ON_POSTGRES = (
    "worker/accounts/",
    "worker/cli/accounts",
    "worker/dispatch/",
    "worker/journal/",
    "worker/service/cluster",
    "worker/sources/sql_postgres",
)
"""Modules of which much is used only with PostgreSQL: its tests come last."""


@click.command()
@click.option("--number", default=100, show_default=True, help="How many mutants.")
@click.option("--seed", type=int, help="Choose the same mutants again.")
@click.option("--seconds", default=300.0, show_default=True, help="Time limit for each: tests that never end catch it.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True)
@click.argument("files", nargs=-1)
def main(number: int, seed: int | None, seconds: float, processes: int, files: tuple[str, ...]) -> None:
    """Plant mutants of the files, or of all of worker/, and run the tests nearest to each."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    click.echo(f"--number {number} --seed {seed}")
    chosen = _choose(number, random.Random(seed), files or sorted(_modules()))
    importers = _importers()
    # Once, at the start: whoever goes on working in this tree may rename tests.
    nearest = {file: _nearest(file, importers) for file in sorted({mutant.file for mutant in chosen})}
    with contextlib.ExitStack() as stack:
        trees: queue.Queue[copies.Copy] = queue.Queue()
        for _ in range(processes):
            trees.put(copies.Copy(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-sync-mutants-"))))

        def is_caught(mutant: mutations.Mutant) -> bool:
            tree = trees.get()
            try:
                with tree.planted(mutant.file, mutant.planted(tree.read(mutant.file))):
                    code = _test(tree, mutant.file, nearest[mutant.file], seconds)
            finally:
                trees.put(tree)
            word = {copies.TOO_LONG: "too long"}.get(code, "SURVIVED" if code in SURVIVED else "caught")
            click.echo(f"{word:9} {mutant}")
            return code not in SURVIVED

        tests = sorted({test for near in nearest.values() for test in near})
        first = trees.get()
        for options in (("-m", "not (real or slow)", "--numprocesses", str(processes)), WITH_POSTGRES):
            if first.test(tests, *OPTIONS, *options, seconds=20 * seconds) not in SURVIVED:
                raise click.ClickException(f"{first.output[-3000:]}\nthe tests fail without any mutant: fix that first")
        trees.put(first)
        with concurrent.futures.ThreadPoolExecutor(processes) as pool:
            caught = sum(pool.map(is_caught, chosen))
    click.echo(f"{caught} of {len(chosen)} mutants caught")
    sys.exit(0 if caught >= GOAL * len(chosen) else 1)


def _modules() -> Iterator[str]:
    for path in (copies.ROOT / "worker").rglob("*.py"):
        yield path.relative_to(copies.ROOT).as_posix()


def _choose(number: int, chance: random.Random, files: Sequence[str]) -> list[mutations.Mutant]:
    """Choose among all mutants of all files."""
    every = [mutant for file in files for mutant in mutations.mutants(file, (copies.ROOT / file).read_text("utf-8"))]
    return chance.sample(every, min(number, len(every)))


def _importers() -> dict[str, list[str]]:
    """Return the test files that import each module, by the module's file."""
    found: dict[str, list[str]] = {}
    for path in sorted((copies.ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("worker"):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
                for name in names:
                    tests = found.setdefault(f"{name.replace('.', '/')}.py", [])
                    test = path.relative_to(copies.ROOT).as_posix()
                    if test not in tests:
                        tests.append(test)
    return found


def _test(tree: copies.Copy, file: str, nearest: Sequence[str], seconds: float) -> int:
    """Run the tests nearest to a module, the quick ones first, and return the exit code of the last."""
    rounds: list[tuple[Sequence[str], Sequence[str]]]
    rounds = [(_named(file), ("-m", UNITS)), (nearest, ("-m", UNITS)), (nearest, ("-m", OTHERS))]
    if file.startswith(ON_POSTGRES):
        rounds.append((nearest, WITH_POSTGRES))
    code = copies.NO_TESTS
    for tests, options in rounds:
        if tests and code in SURVIVED:
            code = tree.test(tests, *OPTIONS, *options, seconds=seconds)
    return code


def _nearest(file: str, importers: dict[str, list[str]]) -> list[str]:
    """Return the tests of a module: those named after it, those of its package, those that import or start it."""
    package = pathlib.Path(file).parts[1].removesuffix(".py")
    own = _files(f"tests/{package}")
    return list(
        dict.fromkeys([*_named(file), *own, *importers.get(file, ()), *_starting(file), *FURTHER.get(package, ())])
    )


def _named(file: str) -> list[str]:
    """Return the tests named after a module: its name, alone or with more behind it."""
    names = re.compile(rf"test_{pathlib.Path(file).stem}(_.*)?\.py")
    found = [test for test in _files("tests") if names.fullmatch(pathlib.Path(test).name)]
    return sorted(found, key=lambda test: pathlib.Path(test).parts[1] != pathlib.Path(file).parts[1])


def _starting(file: str) -> list[str]:
    """Return the tests that start a command which is in this module."""
    commands = [command for command, (module, _) in main_command.COMMANDS.items() if file == f"worker/cli/{module}.py"]
    calls = re.compile("|".join(rf'\("{command}"' for command in commands) or "(?!)")
    return [test for test in _files("tests/e2e") if calls.search((copies.ROOT / test).read_text(encoding="utf-8"))]


@functools.cache
def _files(folder: str) -> list[str]:
    return sorted(path.relative_to(copies.ROOT).as_posix() for path in (copies.ROOT / folder).rglob("test_*.py"))


if __name__ == "__main__":
    main()
