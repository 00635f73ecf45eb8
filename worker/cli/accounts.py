"""The commands `accounts list`, `accounts add` and `accounts remove`: the accounts that a cluster shares.

Invariant: settings are validated before they are added, and replace others only with `--replace`. Neighbours:
`service.cluster` finds the database, `accounts.registry` is the table.
"""

import pathlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from worker.cli import command_line, context, help_page, layout

if TYPE_CHECKING:
    from worker.accounts import registry

FORMAT = "fleet-sync/accounts@1"

_LONGEST_NAME = 24
"""Columns. Longer names are shown in full, but the column of states does not move for them."""

_LIST = "fleet-sync --config cluster accounts list"
_ADD = "fleet-sync --config cluster accounts add acme --file customers/acme.toml"
_REPLACE = "fleet-sync --config cluster accounts add acme --file acme.toml --replace"
_REMOVE = "fleet-sync --config cluster accounts remove acme"


@click.group(cls=help_page.Group, epilog="\n".join((_LIST, _ADD, _REMOVE)))
@click.pass_obj
def accounts(command_context: context.CommandContext) -> None:
    """List, add and remove the accounts of a cluster."""
    if command_context.account is not None:
        raise click.UsageError("this is about all accounts of the cluster: leave --account out")


@accounts.command("list", cls=help_page.Command, epilog=f"{_LIST}\n{_LIST} --json")
@click.option("--json", "as_json", is_flag=True, help="Print the accounts as a document.")
@click.pass_obj
def list_accounts(command_context: context.CommandContext, as_json: bool) -> int:
    """List the accounts with the state that their workers last reported."""

    def run() -> int:
        command_context.configure_logs(as_json=as_json)
        with command_context.cluster().table() as found:
            listed = found.accounts()
        if as_json:
            context.print_document(document(listed))
            return 0
        for line in lines(listed):
            context.print_text(layout.printable(line))
        if not listed:
            to_add = command_line.command("accounts", "add", "NAME", "--file", "FILE")
            context.print_text(f"No accounts. To add one: {to_add}")
        return 0

    return command_context.report_errors(run, as_json=as_json)


@accounts.command("add", cls=help_page.Command, epilog=f"{_ADD}\n{_REPLACE}")
@click.argument("name")
@click.option(
    "--file",
    "path",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=pathlib.Path),
    help="The settings file of the account.",
)
@click.option("--replace", is_flag=True, help="Replace the settings of an account that exists.")
@click.pass_obj
def add(command_context: context.CommandContext, name: str, path: pathlib.Path, replace: bool) -> int:
    """Add an account, which the workers then share.

    Settings that the account has already are left as they are; others replace them only with --replace. Sources are
    read by the workers: `--account NAME check` reads them from here.
    """

    def run() -> int:
        command_context.configure_logs()
        done = command_context.cluster().add(name, path, replace=replace)
        context.print_text(f"Account {name}: {done.value}.")
        return 0

    return command_context.report_errors(run)


@accounts.command("remove", cls=help_page.Command, epilog=_REMOVE)
@click.argument("name")
@click.pass_obj
def remove(command_context: context.CommandContext, name: str) -> int:
    """Remove an account; what the journal recorded of it stays.

    Returns once the worker that had it sends nothing more.
    """

    def run() -> int:
        command_context.configure_logs()
        cluster = command_context.cluster()
        with cluster.table() as found:
            seconds = found.remove(name)
        time.sleep(seconds)
        context.print_text(f"Account {name}: removed. Its records stay in the journal.")
        return 0

    return command_context.report_errors(run)


def lines(listed: "Sequence[registry.RegisteredAccount]") -> list[str]:
    """Return one line for each account. The states are aligned, except after very long names."""
    width = max((len(each.name) for each in listed if len(each.name) <= _LONGEST_NAME), default=0)
    return [f"{each.name:{width}}  {_state(each)}" for each in listed]


def _state(account: "registry.RegisteredAccount") -> str:
    """Return the condition and the gist, without what the gist says again."""
    condition = (account.condition or "new").replace("_", " ")
    gist = (account.gist or "").removeprefix(f"{condition.capitalize()}: ")
    shown = f"{condition}: {gist}" if gist else condition
    return f"{shown}{f'  (on {account.worker})' if account.worker else ''}"


def document(accounts: "Sequence[registry.RegisteredAccount]") -> dict[str, Any]:
    """Return accounts as `fleet-sync/accounts@1`."""
    return {"format": FORMAT, "accounts": [_document(each) for each in accounts]}


def _document(account: "registry.RegisteredAccount") -> dict[str, Any]:
    from worker.core.model.serialization import format_time

    last = account.last_success
    return {
        "account": account.name,
        "condition": account.condition,
        "gist": account.gist,
        "last_success": format_time(last) if last else None,
        "due_at": format_time(account.due_at),
        "failures": account.failures,
        "epoch": account.epoch,
        "worker": account.worker,
    }
