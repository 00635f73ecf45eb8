"""`fleet-sync export`: the memberships that Charge holds now, as a membership document.

Invariant: what is exported is whole, or nothing is: importing it again changes nothing. Neighbours:
`sources.writing` writes the document.
"""

import functools
from typing import TYPE_CHECKING, Literal

import click

from worker.cli import context

if TYPE_CHECKING:
    from worker.service import composition


@click.command("export")
@click.option(
    "--format", "form", type=click.Choice(["yaml", "json", "csv"]), default="yaml", show_default=True, help="Its form."
)
@click.option(
    "--by",
    type=click.Choice(["id", "email"]),
    default="id",
    show_default=True,
    help="How drivers are named; one without an e-mail address of its own keeps its id.",
)
@click.pass_obj
def command(call: context.CommandContext, form: Literal["yaml", "json", "csv"], by: Literal["id", "email"]) -> int:
    """Write the memberships that Charge holds now as a membership document, to stdout."""
    return call.work(functools.partial(_export, form=form, by=by))


async def _export(
    account: "composition.AccountRuntime", *, form: Literal["yaml", "json", "csv"], by: Literal["id", "email"]
) -> int:
    from worker.core.monitoring import humanize
    from worker.sources import export

    actual = await account.builder().export()
    context.echo(export.write(actual, form=form, by=by).removesuffix("\n"))
    left_out = actual.fleets.keys() - frozenset[str]().union(*actual.memberships.values()) if form == "csv" else ()
    if left_out:
        told = humanize.count(len(left_out), "fleet")
        context.echo(f"Left out: {told} without drivers. CSV cannot say that a fleet is empty.", err=True)
    return 0
