"""`fleet-sync check`: prints every problem of the settings and sources, with `--online` also of their references.

Invariant: without `--online` no request is made. Neighbours: `settings` and `sources` find the problems.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from worker.cli import context, help_page, render
from worker.core.model.desired import Desired, SourceReading
from worker.core.model.errors import ProblemsError, SourceError
from worker.core.model.problem import Problem
from worker.core.monitoring import humanize

if TYPE_CHECKING:
    from worker.service import composition
    from worker.settings import model

_CHECK_EXAMPLES = """\
fleet-sync check
fleet-sync check --online"""


@click.command(cls=help_page.Command, epilog=_CHECK_EXAMPLES)
@click.option("--online", is_flag=True, help="Also try the key and resolve every driver and fleet reference.")
@click.pass_obj
def check(command_context: context.CommandContext, online: bool) -> int:
    """Read settings and sources and print every problem as file:line:column: message."""
    command_context.configure_logs()
    try:
        settings = command_context.settings()
        desired = _desired(settings)
    except ProblemsError as error:
        _print_problems(error.problems)
        return error.exit_code
    if online:
        return command_context.with_account(_resolve)
    _print_problems(desired.notices)
    _print_problems(_warnings(settings))
    fleets = humanize.count(len({entry.fleet for entry in desired.fleets}), "fleet")
    memberships = humanize.count(len(desired.rows), "membership")
    context.print_text(f"OK: {fleets}, {memberships}; no request was made.")
    return 0


def _warnings(settings: "model.Settings") -> Iterable[Problem]:
    """Return what is valid, but perhaps not meant."""
    message = "without [sources.fleets], a fleet that no row names is not managed: its last member is never detached"
    return [Problem(source.title, message) for source in settings.sources if source.rows and not source.fleets]


def _desired(settings: "model.Settings") -> Desired:
    """Read and merge all sources. Raise errors.SourceError with the problems of all of them."""
    import anyio

    from worker.core.planning import merge_sources
    from worker.service import source_factory

    async def read() -> list[SourceReading]:
        readings: list[SourceReading] = []
        problems: list[Problem] = []
        for source in source_factory.create(settings):
            try:
                readings.append(await source.read())
            except SourceError as error:
                problems.extend(error.problems)
        if problems:
            raise SourceError(problems)
        return readings

    return merge_sources.merge(anyio.run(read))


async def _resolve(account: "composition.AccountRuntime") -> int:
    plan = await account.new_plan_builder().plan_ignoring_start_dates()
    _print_problems(plan.problems)
    if plan.unresolved or plan.incomplete:
        return 4
    context.print_text("OK: the key works, and every reference resolves to one driver or fleet.")
    return 0


def _print_problems(problems: Iterable[Problem]) -> None:
    for problem in problems:
        context.print_text(render.printable(str(problem)))
