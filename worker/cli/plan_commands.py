"""The commands that make and apply plans: `plan`, `undo` and `apply`.

Invariant: `plan` and `undo` send no write, and `apply` makes no change that the file does not contain. Neighbours:
`plan_file` saves and loads plans, `render` formats them, `engine.plan_builder` and `engine.reconciler` do the work.
"""

import datetime
import functools
import pathlib
import re
from typing import TYPE_CHECKING, Any, Literal

import click

from worker.cli import command_line, context, help_page

if TYPE_CHECKING:
    from worker.engine import plan_builder
    from worker.service import composition

_FILE = click.Path(dir_okay=False, path_type=pathlib.Path)


class Age(click.ParamType[datetime.timedelta]):
    """A number of minutes, hours or days, as in `24h`."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime.timedelta:
        """Return the age, or fail if it is malformed."""
        if not (found := re.fullmatch(r"([0-9]{1,6})([mhd])", value)):
            self.fail("write a number and m, h or d, as in 24h", param, ctx)
        unit = {"m": "minutes", "h": "hours", "d": "days"}[found[2]]
        return datetime.timedelta(**{unit: int(found[1])})


def _written(age: datetime.timedelta) -> str:
    """Return an age as it is written on the command line."""
    minutes = age // datetime.timedelta(minutes=1)
    unit, length = next((unit, length) for unit, length in (("d", 1440), ("h", 60), ("m", 1)) if minutes % length == 0)
    return f"{minutes // length}{unit}"


_PLAN_EXAMPLES = """\
fleet-sync plan
fleet-sync plan --out monday.json
fleet-sync plan --detailed-exitcode --json
fleet-sync plan --format markdown > comment.md
fleet-sync plan --fleet "Paris vans" --json"""


@click.command(cls=help_page.Command, epilog=_PLAN_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as one JSON document.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
    help="For a terminal, or for a comment on a pull request.",
)
@click.option("--out", metavar="FILE", type=_FILE, help="Save the plan for `apply`.")
@context.only_fleets
@click.option("--detailed-exitcode", "detailed", is_flag=True, help="Exit with 2 if there are changes.")
@context.adopt_journal
@click.pass_obj
def plan(
    command_context: context.CommandContext,
    as_json: bool,
    form: Literal["text", "markdown"],
    out: pathlib.Path | None,
    fleets: tuple[str, ...],
    detailed: bool,
    adopt: bool,
) -> int:
    """Show what would change, without changing anything."""
    if as_json and form == "markdown":
        raise click.UsageError("--json and --format markdown exclude each other")
    work = functools.partial(_plan, form="json" if as_json else form, out=out, fleets=fleets, detailed=detailed)
    return command_context.with_account(work, as_json=as_json, adopt=adopt)


async def _plan(
    account: "composition.AccountRuntime",
    *,
    form: Literal["json", "text", "markdown"],
    out: pathlib.Path | None,
    fleets: tuple[str, ...],
    detailed: bool,
) -> int:
    from worker.core.model.report import plan_exit_code

    account.select_fleets(fleets)
    plan_result = await account.new_plan_builder().build()
    _save(account, plan_result, out)
    _print_plan(plan_result, form=form, rate=account.rules.requests_per_second, fleets=fleets)
    _print_saved(out)
    return plan_exit_code(plan_result.guarded, detailed=detailed)


def _print_plan(
    plan_result: "plan_builder.PlanResult",
    *,
    form: Literal["json", "text", "markdown"],
    rate: float,
    fleets: tuple[str, ...],
) -> None:
    from worker.cli import pager, render, render_markdown
    from worker.core.model.serialization import plan_document

    match form:
        case "json":
            context.print_document(plan_document(plan_result.guarded))
        case "markdown":
            context.print_verbatim(render_markdown.plan(plan_result, fleets=fleets))
        case "text":
            pager.show(render.plan(plan_result, rate=rate, fleets=fleets))


_REVERTED = "Unless the sources change too, the next run reverts this."

_UNDO_EXAMPLES = """\
fleet-sync undo run_39509cd1
fleet-sync undo run_39509cd1 --out back.json"""


@click.command(cls=help_page.Command, epilog=_UNDO_EXAMPLES)
@click.argument("run")
@click.option("--out", metavar="FILE", type=_FILE, help="Save the plan for `apply`.")
@click.pass_obj
def undo(command_context: context.CommandContext, run: str, out: pathlib.Path | None) -> int:
    """Show or save the inverse plan of a run, without memberships that have changed since."""
    return command_context.with_account(functools.partial(_undo, run=run, out=out))


async def _undo(account: "composition.AccountRuntime", *, run: str, out: pathlib.Path | None) -> int:
    from worker.cli import render
    from worker.core.model.report import plan_exit_code

    past = await context.find_run(account.record, run)
    plan_result = await account.new_plan_builder().undo(past.run, account.record)
    _save(account, plan_result, out)
    file, rate = str(out or "FILE"), account.rules.requests_per_second
    context.print_text(render.inverse(plan_result, run=past.run, rate=rate, out=file))
    _print_saved(out)
    if plan_result.guarded.changes or plan_result.guarded.held:
        context.print_text(_REVERTED, err=True)
    return plan_exit_code(plan_result.guarded, detailed=False)


_APPLY_EXAMPLES = """\
fleet-sync apply monday.json
fleet-sync apply monday.json --max-age 3d"""


@click.command(cls=help_page.Command, epilog=_APPLY_EXAMPLES)
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@click.option("--max-age", type=Age(), default="24h", show_default=True, help="Refuse an older plan.")
@click.option("--during-pause", is_flag=True, help="Apply it although writes are paused.")
@context.adopt_journal
@click.pass_obj
def apply(
    command_context: context.CommandContext,
    file: pathlib.Path,
    as_json: bool,
    max_age: datetime.timedelta,
    during_pause: bool,
    adopt: bool,
) -> int:
    """Apply exactly a saved plan. A change that no longer fits is not made and is reported as stale."""
    work = functools.partial(_apply, file=file, as_json=as_json, max_age=max_age, during_pause=during_pause)
    return command_context.with_account(work, as_json=as_json, adopt=adopt, writes=True)


async def _apply(
    account: "composition.AccountRuntime",
    *,
    file: pathlib.Path,
    as_json: bool,
    max_age: datetime.timedelta,
    during_pause: bool,
) -> int:
    from worker.cli import plan_file, render
    from worker.core.model.errors import ObserveOnly

    age = () if max_age == plan_file.MAX_AGE else ("--max-age", _written(max_age))
    again = (str(file), *age, *(("--during-pause",) if during_pause else ()))

    def show(plan_result: "plan_builder.PlanResult") -> None:
        if plan_result.guarded.held and not as_json:
            context.print_text(render.held_of_saved(plan_result, again=again))

    if not account.rules.apply:
        raise ObserveOnly(f"{file} is not applied: the settings say `apply = false`")
    now = datetime.datetime.now(datetime.UTC)
    saved = plan_file.load(file, account=account.rules.account, key=account.plan_key, now=now, max_age=max_age)
    run_report = await account.new_reconciler(show=show).apply(saved, max_age=max_age, during_pause=during_pause)
    return context.print_report(run_report, as_json=as_json)


def _save(
    account: "composition.AccountRuntime", plan_result: "plan_builder.PlanResult", path: pathlib.Path | None
) -> None:
    # Save before printing: if the file cannot be written, the error must not follow a plan that looks saved.
    from worker.cli import plan_file

    if path is not None:
        plan_file.save(plan_result.guarded, path, key=account.plan_key)


def _print_saved(path: pathlib.Path | None) -> None:
    if path is not None:
        to_apply = command_line.command("apply", str(path))
        context.print_text(f"Saved to {path}. To apply exactly this plan: {to_apply}", err=True)
