"""`python -m tests.mutants [--random N] [NAME…]`: plant each defect in a copy, and check that the tests catch it.

Invariant: the working tree is never touched; a defect that no test catches makes the exit code 1. Neighbours:
`every_defect` lists the defects, `copies` makes the copy, `generated` makes up defects of its own.
"""

import random
import secrets
import sys
import tempfile

import click

from tests.mutants import copies, defects
from tests.mutants.every_defect import DEFECTS

LONGEST_SECONDS = 600.0
"""A defect under which the tests never end is caught."""


@click.command()
@click.option("--random", "number", type=click.IntRange(min=1), help="Only this many, chosen at random.")
@click.option("--seed", type=int, help="Choose the same ones again.")
@click.argument("words", nargs=-1)
def main(number: int | None, seed: int | None, words: tuple[str, ...]) -> None:
    """Plant the defects whose names contain one of the words, or all."""
    chosen = [defect for defect in DEFECTS if not words or any(word in defect.name for word in words)]
    if number is not None:
        seed = secrets.randbelow(10**6) if seed is None else seed
        click.echo(f"--random {number} --seed {seed}")
        chosen = random.Random(seed).sample(chosen, min(number, len(chosen)))
    with tempfile.TemporaryDirectory(prefix="fleet-sync-mutants-") as folder:
        copy = copies.Copy(folder)
        if copy.test(sorted({test for defect in chosen for test in defect.tests}), seconds=10 * LONGEST_SECONDS):
            raise click.ClickException(f"{copy.output[-3000:]}\nthe tests fail without any defect: fix that first")
        survivors = [defect for defect in chosen if not _is_caught(defect, copy)]
    click.echo(f"{len(chosen) - len(survivors)} of {len(chosen)} planted defects caught")
    sys.exit(1 if survivors else 0)


def _is_caught(defect: defects.Defect, copy: copies.Copy) -> bool:
    """Plant a defect, run its tests, and remove it."""
    sound = copy.read(defect.file)
    if sound.count(defect.before) != 1:
        raise click.ClickException(f"{defect.name}: the text to replace occurs {sound.count(defect.before)} times")
    with copy.planted(defect.file, sound.replace(defect.before, defect.after)):
        code = copy.test(defect.tests, seconds=LONGEST_SECONDS)
    if code == copies.NO_TESTS:
        raise click.ClickException(f"{defect.name}: its tests do not exist")
    click.echo(f"{'caught  ' if code else 'SURVIVED'}  {defect.name}")
    return code != 0


if __name__ == "__main__":
    main()
