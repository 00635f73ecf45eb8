"""`fleet-sync check --source NAME`: shows what one source yields, and how it was shown to be whole.

Invariant: reads that source and nothing else. Neighbours: `check` reads all of them, `sources.completeness` has the
proofs.
"""

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from worker.cli import context, layout
from worker.core.model.desired import SourceReading
from worker.core.monitoring import humanize

if TYPE_CHECKING:
    from worker.settings import model

_PROOFS = {
    "none": "nothing shows that it was not cut short: see [sources.completeness]",
    "min_rows": "it has at least as many rows as [sources.completeness] demands",
    "syntax": "cut short, it would not be valid",
    "trailer": "its last line is the trailer",
    "manifest": "it matches its manifest",
    "commit": "all documents are from one commit, which git has checked",
    "transaction": "all rows were read, in one transaction",
    "exit_code": "the command ended by itself, with exit code 0",
    "length": "it ended where the server said it would",
}
"""What each proof means. Kinds of sources may have further ones."""


def read(settings: "model.Settings", name: str) -> SourceReading:
    """Read the source of this name. Raises click.UsageError if there is none, and errors.SourceError."""
    import anyio

    from worker.service import source_factory

    found = {source.name: source for source in source_factory.create(settings)}
    if name not in found:
        listed = ", ".join(map(layout.printable, found))
        raise click.UsageError(f"no source has the name {layout.printable(name)}: the sources are {listed}")
    return anyio.run(found[name].read)


def show(reading: SourceReading) -> None:
    """Print what a reading has."""
    for line in _lines(reading, datetime.datetime.now(datetime.UTC)):
        context.print_text(layout.printable(line))


def _lines(reading: SourceReading, now: datetime.datetime) -> Iterator[str]:
    source = reading.source
    fleets = humanize.count(len({entry.fleet for entry in reading.fleets}), "fleet")
    yield f"source: {source.name}"
    yield f"kind: {source.kind}"
    yield f"revision: {source.revision}"
    yield f"rows: {source.rows} ({humanize.count(len(reading.rows), 'membership')} in {fleets})"
    if source.modified is not None:
        yield f"changed: {source.modified:%Y-%m-%d %H:%M} UTC ({humanize.ago(source.modified, now)})"
    yield f"proof: {source.proof} ({_PROOFS.get(source.proof, f'as sources of kind {source.kind} prove it')})"
