"""The `fleet-sync` command: global options, subcommands and exit codes.

Invariant: a subcommand's module is imported only when it runs, so that `--help` is quick. Every way to end has a
documented exit code. Neighbours: `context` passes the global options to the subcommands, `streams` sets up the output.
"""

import gc
import importlib
import io
import os
import sys
import types
from typing import TYPE_CHECKING, Literal, NoReturn

import click

import worker
from worker.cli import exit_watchdog, help_page, streams

if TYPE_CHECKING:
    from click import shell_completion

USAGE = 64
"""The exit code of wrong usage."""

INTERRUPTED = 130
"""The exit code of a command that Ctrl+C ended."""

OBJECTS_BETWEEN_COLLECTIONS = 10_000
"""A large account is a million objects that live until the run ends. Python looks for cycles after every 700 new ones,
which is a sixth of the CPU time of planning 100,000 changes."""

DEFAULT_CONFIG = "config/fleet-sync.toml"
"""The settings file if none is named."""

COMMANDS = {
    "init": ("init", "Write a settings file and a membership document."),
    "check": ("check", "Read settings and sources and print every problem."),
    "plan": ("plan_commands", "Show what would change, without changing anything."),
    "apply": ("plan_commands", "Apply exactly a saved plan."),
    "once": ("once", "Reconcile once, as a job does."),
    "run": ("run", "Reconcile continuously, as a service does."),
    "worker": ("worker", "Run accounts of a cluster, beside other workers."),
    "accounts": ("accounts", "List, add and remove the accounts of a cluster."),
    "history": ("record_commands", "List past runs."),
    "show": ("record_commands", "Show one past run with each change."),
    "why": ("record_commands", "List every change to a driver's memberships."),
    "forget": ("record_commands", "Erase a driver's name and e-mail address from the journal."),
    "pause": ("pause_commands", "Stop changes in Charge; planning and alerts go on."),
    "resume": ("pause_commands", "End every pause, or that of one fleet."),
    "audit": ("audit", "Print the record as a stream of runs and changes."),
    "undo": ("plan_commands", "Show or save the inverse plan of a run."),
    "approve": ("approve", "Approve the held changes of exactly one plan."),
    "export": ("document_commands", "Write the memberships in Charge as a document."),
    "sources": ("sources", "List the kinds of sources and where each comes from."),
    "schema": ("document_commands", "Print the JSON Schema of a file or a document."),
    "completion": ("completion", "Print the completion script of a shell."),
    "sandbox": ("sandbox", "Serve an imitation of the Charge API on this machine."),
    "demo": ("demo", "Show the whole job on a sandbox."),
}
"""The module and the one-line help of each subcommand, in the order of `--help`."""


class Subcommands(help_page.Group):
    """Lists subcommands from `COMMANDS` and imports only the module of the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand's module and return the subcommand, which has the name of its function."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"worker.cli.{module}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand. If there is none of this name, the error suggests the most similar ones."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[shell_completion.CompletionItem]":
        """Return the completions of a subcommand's name or an option, without importing the subcommands."""
        from click import shell_completion

        names = [
            shell_completion.CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


_EXAMPLES = """\
fleet-sync demo
fleet-sync init --from-account
fleet-sync plan
fleet-sync --config acme/fleet-sync.toml once
fleet-sync --config accounts --account acme plan"""


def _print_version(ctx: click.Context, _parameter: click.Parameter, requested: bool) -> None:
    if requested:
        click.echo(f"fleet-sync {worker.__version__}")
        ctx.exit()


@click.group(
    cls=Subcommands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXAMPLES,
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
@click.option(
    "--config",
    metavar="FILE|FOLDER",
    envvar="FLEET_SYNC_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The settings file of the account, or a folder of accounts (or $FLEET_SYNC_CONFIG).",
)
@click.option("--account", metavar="NAME", help="The account of the folder that the command is about.")
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    envvar="FLEET_SYNC_LOG_FORMAT",
    show_default=True,
    help="Format of log lines. auto: console on a terminal, JSON elsewhere.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    envvar="FLEET_SYNC_LOG_LEVEL",
    help="Lowest level of log lines [default: info; on a terminal warning, except for run].",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    envvar="FLEET_SYNC_COLOR",
    show_default=True,
    help="Colors. auto: on a terminal, unless NO_COLOR is set.",
)
@click.pass_context
def cli(
    ctx: click.Context,
    config: str,
    account: str | None,
    log_format: Literal["auto", "console", "json"],
    log_level: str | None,
    color: Literal["auto", "always", "never"],
) -> None:
    """Keep driver-fleet memberships in Charge in sync with the lists you maintain.

    Results go to stdout, logs and progress to stderr.
    """
    from worker.cli import context

    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        return
    if color == "auto" and (os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"):
        color = "never"
    ctx.color = {"auto": None, "always": True, "never": False}[color]
    ctx.obj = context.CommandContext(
        config=config, log_format=log_format, log_level=log_level, color=color, account=account
    )


def main() -> NoReturn:
    """Run the command line and exit with its exit code."""
    block_unused_imports()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    exit_watchdog.arm()
    streams.prepare()
    try:
        code = _exit_code()
    except OSError as error:  # of the output only: commands turn every other one into an error with a remedy
        streams.report_lost_output(error)
        code = 1
    sys.exit(code)


def block_unused_imports() -> None:
    """Prevent imports by dependencies that cost 80 ms and 10 MB in every process and are never used.

    httpcore imports trio, which the tests need, wherever it is installed; httpx imports its own command line; structlog
    imports rich, which `progress` alone uses. pydantic reads the metadata of every installed distribution, and would
    import those that offer it a plugin: nothing is imported that the settings do not name.
    """
    for module in ("trio", "httpx._main", "rich"):
        sys.modules.setdefault(module, None)  # type: ignore[arg-type] # None makes the import fail
    no_plugins = types.ModuleType("pydantic.plugin._loader")
    no_plugins.__dict__["get_plugins"] = tuple
    sys.modules.setdefault(no_plugins.__name__, no_plugins)


def _show(error: click.ClickException) -> None:
    """Print an error as click does, but cut no word at the edge of a terminal."""
    from worker.cli import command_line, layout
    from worker.core.model.secret import redact

    shown = io.StringIO()
    error.show(shown)
    text = redact(command_line.completed(shown.getvalue(), getattr(error, "ctx", None)))
    click.echo(layout.fit(text, layout.columns(sys.stderr)), err=True, nl=False)


def _exit_code() -> int:
    """Run the subcommand and return its exit code, after printing a click error."""
    try:
        code = cli.main(prog_name="fleet-sync", standalone_mode=False)
    except click.ClickException as error:
        _show(error)
        return USAGE if isinstance(error, click.UsageError) else 1
    except click.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0
