"""`fleet-sync check`: prints every problem of the settings and sources, with `--online` also of their references.

Invariant: without `--online` no request is made. Neighbours: `settings`, `sources` and `check_requirements` find the
problems.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import click

from worker.cli import check_requirements, command_line, context, findings, help_page
from worker.core.model.desired import Desired, SourceReading
from worker.core.model.errors import ProblemsError, SettingsError, SourceError
from worker.core.model.problem import Problem
from worker.core.monitoring import humanize

if TYPE_CHECKING:
    from worker.service import composition
    from worker.settings import model

_Form = Literal["text", "json", "github"]
_UNSEEN = "was not seen in Charge, so every detach is held: correct it, or attach the driver"
_CHECK_EXAMPLES = """\
fleet-sync check
fleet-sync check --online
fleet-sync check --source membership.yaml
fleet-sync check --format github
fleet-sync --config accounts check"""


@click.command(cls=help_page.Command, epilog=_CHECK_EXAMPLES)
@click.option("--online", is_flag=True, help="Also try the key and resolve every driver and fleet reference.")
@click.option("--source", "name", metavar="NAME", help="Only show what one source yields, and how it proved complete.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="github: annotations of a pull request.",
)
@click.pass_obj
def check(command_context: context.CommandContext, online: bool, name: str | None, form: _Form) -> int:
    """Read settings and sources and print every problem as file:line:column: message."""
    if name is not None and (online or form != "text"):
        raise click.UsageError("--source makes no request and prints text: leave --online and --format out")
    if command_context.has_all_accounts and (name is not None or online):
        raise click.UsageError("--online and --source are about one account: add --account NAME")
    work = functools.partial(_check, command_context, online=online, name=name, form=form)
    return command_context.report_errors(work, as_json=form == "json")


def _check(command_context: context.CommandContext, *, online: bool, name: str | None, form: _Form) -> int:
    if command_context.has_all_accounts:
        command_context.configure_logs()
        return _check_accounts(command_context.account_folder(), form)
    folder = command_context.folder
    try:
        settings = command_context.settings()
    except ProblemsError as error:  # its places are relative to the working folder, those of sources to the settings
        return _print_findings(findings.errors(error.problems, pathlib.Path()), exit_code=error.exit_code, form=form)
    if settings.plugins:  # nothing else logs, and setting up the log takes as long as reading the settings
        command_context.configure_logs()
    try:
        if name is not None:
            return _show_source(settings, name, folder)
    except ProblemsError as error:
        return _print_findings(findings.errors(error.problems, folder), exit_code=error.exit_code, form=form)
    required = [*check_requirements.of_process(os.environ), *check_requirements.of_account(settings)]
    found = findings.errors(required, pathlib.Path())
    try:
        desired = _desired(settings)
    except ProblemsError as error:
        found += findings.errors(error.problems, folder)
        return _print_findings(found, exit_code=error.exit_code, form=form)
    if found:
        return _print_findings(found, exit_code=SettingsError.exit_code, form=form)
    return _report(command_context, settings, desired, online=online, form=form)


def _report(
    command_context: context.CommandContext, settings: "model.Settings", desired: Desired, *, online: bool, form: _Form
) -> int:
    """Print what is worth knowing where nothing is wrong, or with `online` what Charge knows of the sources."""
    folder = command_context.folder
    if online:
        work = functools.partial(_resolve, folder=folder, form=form)
        return command_context.with_account(work, as_json=form == "json")
    found = findings.warnings([*desired.notices, *_warnings(settings)], folder)
    fleets = humanize.count(len({entry.fleet for entry in desired.fleets}), "fleet")
    memberships = humanize.count(len(desired.rows), "membership")
    summary = f"OK: {fleets}, {memberships}; no request was made."
    return _print_findings(found, exit_code=0, form=form, summary=summary)


def _check_accounts(folder: pathlib.Path, form: _Form) -> int:
    """Print the problems of all accounts of a folder or a cluster, and of what they share."""
    from worker.core.model.account_files import Claims
    from worker.service import account_claims

    found = findings.errors(check_requirements.of_process(os.environ), pathlib.Path())
    claims, fleets, memberships = Claims(), 0, 0
    try:
        names, load = _accounts(folder)
    except ProblemsError as error:
        return _print_findings(findings.errors(error.problems, pathlib.Path()), exit_code=error.exit_code, form=form)
    for name in names:
        try:
            settings = load(name)
            account_claims.require_own(claims, name, account_claims.of_settings(settings))
            found += findings.errors(check_requirements.of_account(settings), pathlib.Path())
            desired = _desired(settings)
        except ProblemsError as error:
            base = pathlib.Path() if isinstance(error, SettingsError) else folder
            found += findings.errors(error.problems, base)
            continue
        found += findings.warnings([*desired.notices, *_warnings(settings)], folder)
        fleets, memberships = fleets + len({entry.fleet for entry in desired.fleets}), memberships + len(desired.rows)
    failed = any(each.level is findings.Level.ERROR for each in found)
    counted = (humanize.count(len(names), "account"), humanize.count(fleets, "fleet"))
    summary = f"OK: {', '.join(counted)}, {humanize.count(memberships, 'membership')}; no request was made."
    return _print_findings(found, exit_code=1 if failed else 0, form=form, summary="" if failed else summary)


def _accounts(folder: pathlib.Path) -> "tuple[Sequence[str], Callable[[str], model.Settings]]":
    """Return the names of the accounts, and what reads the settings of one."""
    from worker.service import cluster
    from worker.settings import account_folder

    defaults = account_folder.read_defaults(folder)
    if defaults.cluster is None:
        return account_folder.names(folder), lambda name: account_folder.load(folder, name, defaults)
    found = cluster.cluster(folder)
    return found.names(), found.account


def _show_source(settings: "model.Settings", name: str, folder: pathlib.Path) -> int:
    from worker.cli import check_source

    reading = check_source.read(settings, name)
    warnings = [warning for warning in _warnings(settings) if warning.where == name]
    code = _print_findings(findings.warnings([*reading.notices, *warnings], folder), exit_code=0, form="text")
    check_source.show(reading)
    return code


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


async def _resolve(account: "composition.AccountRuntime", *, folder: pathlib.Path, form: _Form) -> int:
    plan, unseen = await account.new_plan_builder().plan_ignoring_start_dates()
    missing = [Problem("guard.must_see", f"{driver}/{fleet} {_UNSEEN}") for driver, fleet in sorted(unseen)]
    found = findings.errors([*plan.problems, *missing], folder)
    if plan.unresolved or plan.incomplete or missing:
        return _print_findings(found, exit_code=4, form=form)
    summary = "OK: the key works, and every reference resolves to one driver or fleet."
    return _print_findings(found, exit_code=0, form=form, summary=summary)


def _print_findings(found: Sequence[findings.Finding], *, exit_code: int, form: _Form, summary: str = "") -> int:
    """Print the findings and, unless they are a document, the summary. Return the exit code."""
    if form == "json":
        context.print_document(findings.document(found, exit_code=exit_code))
        return exit_code
    for each in found:
        if form == "github":
            context.print_verbatim(findings.annotation(each))
        else:
            context.print_text(command_line.completed(findings.text(each)))
    if summary:
        context.print_text(summary)
    return exit_code
