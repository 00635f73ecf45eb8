"""`fleet-sync apply FILE`: exactly what a saved plan says, as far as it still fits.

Invariant: sources are not read, and nothing is made that the file does not say. Neighbours: `plan_file` reads the file.
"""

import functools
import pathlib
from typing import TYPE_CHECKING

import click

from worker.cli import context

if TYPE_CHECKING:
    from worker.service import composition


@click.command("apply")
@click.argument("file", type=click.Path(dir_okay=False, path_type=pathlib.Path))
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@click.pass_obj
def command(call: context.CommandContext, file: pathlib.Path, as_json: bool) -> int:
    """Do exactly what a saved plan says. A change that no longer fits is reported stale, and left undone."""
    return call.work(functools.partial(_apply, file=file, as_json=as_json), as_json=as_json)


async def _apply(account: "composition.AccountRuntime", *, file: pathlib.Path, as_json: bool) -> int:
    from worker.cli import plan_file

    saved = plan_file.load(file, account=account.rules.account)
    return context.print_report(await account.cycle().apply(saved), as_json=as_json)
