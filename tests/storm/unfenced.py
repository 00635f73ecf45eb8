"""A storm without a fence, which must show stale writes: otherwise the storm would prove nothing.

`python -m tests.storm.unfenced [--seed N]` plants defects in a copy of the tree: no commit checks the epoch, and no
permit ends. Neighbours: `tests.mutants.copies` makes the copy, `__main__` plays the storm in it.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

import click

from tests.mutants import copies

DEFECTS = (
    (
        "worker/journal/fenced_session.py",
        "        if not database.query(cluster_queries.FENCE,",
        "        if False and not database.query(cluster_queries.FENCE,",
    ),
    ("worker/journal/claims.py", "return self.claims.uptime() < self.until", "return True"),
)
FORM = (
    *("--accounts", "60", "--interval", "6", "--seconds", "90", "--stops", "8", "--kills", "0"),
    *("--shortest-stop", "13", "--longest-stop", "16", "--latency", "0.3", "--changes", "0.2", "--drivers", "40"),
)
GUILTY = "FAIL stale writes: "
"""What a storm prints that saw some."""


@click.command()
@click.option("--seed", default=5, show_default=True, help="Chance.")
def main(seed: int) -> None:
    """Play the storm on a copy without a fence; exit with 0 if it shows stale writes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        copy = copies.Copy(folder)
        for file, sound, defective in DEFECTS:
            text = copy.read(file)
            if text.count(sound) != 1:
                raise click.ClickException(f"{file} does not contain this text exactly once: {sound}")
            stack.enter_context(copy.planted(file, text.replace(sound, defective)))
        ended = subprocess.run(
            [sys.executable, "-m", "tests.storm", "--seed", str(seed), *FORM],
            cwd=pathlib.Path(folder),
            env={**os.environ, "PYTHONPATH": folder},
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    click.echo(ended.stdout)
    sys.exit(0 if GUILTY in ended.stdout else 1)


if __name__ == "__main__":
    main()
