"""`python -m tests.mutants [--sample N] [NAME…]`: plants each defect in a copy, and sees that the tests catch it.

Invariant: the tree itself is never touched; a defect that no test catches ends this with 1. Neighbours: `defects`.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import click

from tests.mutants import defects

ROOT = pathlib.Path(__file__).parents[2]
PARTS = (
    "worker",
    "tests",
    "config",
    "docs",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
)
NO_TESTS = 5


@click.command()
@click.option("--sample", type=click.IntRange(min=1), help="Only every so many, to be quick.")
@click.argument("words", nargs=-1)
def main(sample: int | None, words: tuple[str, ...]) -> None:
    """Plant the defects whose names hold one of the words, or all."""
    chosen = [each for each in defects.DEFECTS if not words or any(word in each.name for word in words)][::sample]
    with tempfile.TemporaryDirectory(prefix="fleet-sync-mutants-") as folder:
        copy = pathlib.Path(folder)
        _copy(copy)
        if _test(copy, sorted({test for defect in chosen for test in defect.tests})):
            raise click.ClickException("the tests fail without any defect: mend that first")
        survivors = [defect for defect in chosen if not _caught(defect, copy)]
    click.echo(f"{len(chosen) - len(survivors)} of {len(chosen)} planted defects caught")
    sys.exit(1 if survivors else 0)


def _copy(folder: pathlib.Path) -> None:
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)


def _caught(defect: defects.Defect, folder: pathlib.Path) -> bool:
    """Plant a defect, run its tests, and take it out again."""
    path = folder / defect.file
    sound = path.read_text(encoding="utf-8")
    if sound.count(defect.before) != 1:
        raise click.ClickException(f"{defect.name}: what it replaces stands {sound.count(defect.before)} times")
    path.write_text(sound.replace(defect.before, defect.after), encoding="utf-8")
    try:
        code = _test(folder, defect.tests)
    finally:
        path.write_text(sound, encoding="utf-8")
    if code == NO_TESTS:
        raise click.ClickException(f"{defect.name}: there are no such tests")
    click.echo(f"{'caught  ' if code else 'SURVIVED'}  {defect.name}")
    return code != 0


def _test(folder: pathlib.Path, tests: Sequence[str]) -> int:
    arguments = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    ran = subprocess.run(arguments, cwd=folder, capture_output=True, check=False)
    return ran.returncode


if __name__ == "__main__":
    main()
