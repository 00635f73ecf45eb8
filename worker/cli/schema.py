"""`fleet-sync schema`: the JSON Schemas, for editors and validators.

Invariant: what is printed is what the program checks. Neighbours: `settings.schema` makes them.
"""

from typing import Literal

import click

from worker.cli import context


@click.command("schema")
@click.argument("name", type=click.Choice(["settings", "membership"]))
def command(name: Literal["settings", "membership"]) -> int:
    """Print the JSON Schema of the settings file or of membership documents."""
    from worker.settings import schema

    context.print_document(schema.schema(name))
    return 0
