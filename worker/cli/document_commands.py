"""The commands that print documents: `export` and `schema`.

Invariant: an export is complete or fails; importing it again changes nothing. A schema describes what the program
checks. Neighbours: `sources.export` writes membership documents, `settings.schema` generates the schemas.
"""

import functools
from typing import TYPE_CHECKING, Literal

import click

from worker.cli import context, help_page

if TYPE_CHECKING:
    from worker.core.model.actual import Actual
    from worker.service import composition

_EXPORT_EXAMPLES = """\
fleet-sync export > config/membership.yaml
fleet-sync export --by email --format csv > membership.csv"""


@click.command(cls=help_page.Command, epilog=_EXPORT_EXAMPLES)
@click.option(
    "--format",
    "form",
    type=click.Choice(["yaml", "json", "csv"]),
    default="yaml",
    show_default=True,
    help="The format of the document.",
)
@click.option(
    "--by",
    type=click.Choice(["id", "email"]),
    default="id",
    show_default=True,
    help="How to name drivers. A driver without a unique e-mail address is always named by id.",
)
@click.pass_obj
def export(
    command_context: context.CommandContext, form: Literal["yaml", "json", "csv"], by: Literal["id", "email"]
) -> int:
    """Write the memberships in Charge as a membership document to stdout."""
    return command_context.with_account(functools.partial(_export, form=form, by=by))


async def _export(
    account: "composition.AccountRuntime", *, form: Literal["yaml", "json", "csv"], by: Literal["id", "email"]
) -> int:
    from worker.sources import export as document_export

    actual = await account.new_plan_builder().export()
    context.print_verbatim(document_export.write(actual, form=form, by=by).removesuffix("\n"))
    if form == "csv":
        _report_empty_fleets(actual)
    return 0


def _report_empty_fleets(actual: "Actual") -> None:
    from worker.core.monitoring import humanize

    empty = actual.fleets.keys() - frozenset[str]().union(*actual.memberships.values())
    if empty:
        count = humanize.count(len(empty), "fleet")
        context.print_text(f"Left out: {count} without drivers. CSV cannot represent an empty fleet.", err=True)


_SCHEMA_EXAMPLES = """\
fleet-sync schema settings
fleet-sync schema membership > membership.schema.json
fleet-sync schema report > report.schema.json"""


@click.command(cls=help_page.Command, epilog=_SCHEMA_EXAMPLES)
@click.argument("name", type=click.Choice(["settings", "membership", "plan", "report"]))
def schema(name: Literal["settings", "membership", "plan", "report"]) -> int:
    """Print the JSON Schema of settings, membership documents, plans or reports."""
    from worker.settings import schema as json_schema

    context.print_document(json_schema.schema(name))
    return 0
