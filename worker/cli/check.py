"""`fleet-sync check`: every problem of settings and sources, and with `--online` of what they refer to.

Invariant: without `--online` no request is made. Neighbours: `settings` and `sources` find the problems.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from worker.cli import context, render
from worker.core.model.desired import Desired, SourceReading
from worker.core.model.errors import ProblemsError, SourceError
from worker.core.model.problem import Problem
from worker.core.monitoring import humanize

if TYPE_CHECKING:
    from worker.service import composition
    from worker.settings import model


@click.command("check")
@click.option("--online", is_flag=True, help="Also try the key, and resolve every driver and fleet reference.")
@click.pass_obj
def command(call: context.CommandContext, online: bool) -> int:
    """Read settings and sources, and print every problem as file:line:column: message."""
    call.configure_logs()
    try:
        settings = call.settings()
        desired = _desired(settings)
    except ProblemsError as error:
        _print(error.problems)
        return error.exit_code
    if online:
        return call.work(_resolve)
    _print(desired.notices)
    rows = len(desired.rows)
    fleets = humanize.count(len({entry.fleet for entry in desired.fleets}), "fleet")
    context.echo(f"OK: {fleets}, {humanize.count(rows, 'membership')}; no request was made.")
    return 0


def _desired(settings: "model.Settings") -> Desired:
    """Read all sources. Raises errors.SourceError with the problems of all of them."""
    import anyio

    from worker.core.planning import merge_sources
    from worker.service import composition

    async def read() -> list[SourceReading]:
        readings: list[SourceReading] = []
        problems: list[Problem] = []
        for source in composition.sources(settings):
            try:
                readings.append(await source.read())
            except SourceError as error:
                problems.extend(error.problems)
        if problems:
            raise SourceError(problems)
        return readings

    return merge_sources.merge(anyio.run(read))


async def _resolve(account: "composition.AccountRuntime") -> int:
    plan = await account.builder().plan_ignoring_start_dates()
    _print(plan.problems)
    if plan.unresolved or plan.incomplete:
        return 4
    context.echo("OK: the key works, and every reference leads to one driver or fleet.")
    return 0


def _print(problems: Iterable[Problem]) -> None:
    for problem in problems:
        context.echo(render.printable(str(problem)))
