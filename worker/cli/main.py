"""The `fleet-sync` command: global options, and the way to each subcommand.

Invariant: a subcommand's module is imported only when it runs, so that `--help` is quick; every way to end gives an
exit code of the README's table. Neighbours: `invocation` carries the global options to the subcommands.
"""

import contextlib
import importlib
import io
import os
import pathlib
import sys
from typing import Literal, NoReturn

import click

import worker
from worker.cli import exit_watchdog

USAGE = 64

COMMANDS = {
    "check": "Read settings and sources, and list every problem.",
    "plan": "Show what would change; change nothing.",
    "apply": "Do exactly what a saved plan says.",
    "once": "Reconcile once: the form for a job.",
    "run": "Reconcile whenever there is a reason to: the form for a service.",
    "history": "List past runs.",
    "show": "Show one past run, with each change.",
    "why": "Tell every change to a driver's memberships.",
    "undo": "Show or save the inverse plan of a run.",
    "approve": "Allow the held detaches of exactly one plan.",
    "export": "Write the memberships that Charge holds as a document.",
    "schema": "Print the JSON Schema of settings or documents.",
    "sandbox": "Serve an imitation of the Charge API on this machine.",
    "demo": "Show the whole job on a sandbox.",
}


class Subcommands(click.Group):
    """Finds subcommands by name, and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"worker.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"fleet-sync {worker.__version__}")
        ctx.exit()


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
@click.option(
    "--config",
    metavar="FILE",
    envvar="FLEET_SYNC_CONFIG",
    default="config/fleet-sync.toml",
    show_default=True,
    help="The settings file of the account (or $FLEET_SYNC_CONFIG).",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    envvar="FLEET_SYNC_LOG_FORMAT",
    show_default=True,
    help="Form of log lines; auto is pretty on a terminal, JSON elsewhere.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    envvar="FLEET_SYNC_LOG_LEVEL",
    help="Lowest level of log lines [default: info, but on a terminal warning for all but run].",
)
@click.pass_context
def cli(ctx: click.Context, config: str, log_format: Literal["auto", "console", "json"], log_level: str | None) -> None:
    """Keep the fleets of Charge drivers as your own documents say.

    Results go to stdout, logs and progress to stderr.
    """
    from worker.cli import context

    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    if plain:
        ctx.color = False
    ctx.obj = context.CommandContext(config=config, log_format=log_format, log_level=log_level, colours=not plain)


def main() -> NoReturn:
    """Run the command line, and end with its exit code."""
    # Both are imported wherever they are there, for nothing: 40 ms of every start, and 5 MB. trio, which the tests
    # need, by httpcore; httpx's command line by httpx.
    for unwanted in ("trio", "httpx._main"):
        sys.modules.setdefault(unwanted, None)  # type: ignore[arg-type] # None is how an import is refused
    exit_watchdog.arm()
    _complete_streams()
    try:
        code = _call()
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        _drop_output()
        code = 1
    except OSError as error:
        with contextlib.suppress(OSError):
            click.echo(f"error: the output could not be written: {error.strerror or error}", err=True)
        _drop_output()
        code = 1
    sys.exit(code)


def _call() -> int:
    try:
        code = cli.main(prog_name="fleet-sync", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        error.show()
        return 1
    except click.Abort:
        return 130
    return code if isinstance(code, int) else 0


def _complete_streams() -> None:
    """Write UTF-8 whatever the locale, as documents are; and where a stream was closed, write to nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Else the next file or socket that is opened would get the stream's number.
            setattr(sys, name, pathlib.Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _drop_output() -> None:
    """Lead what is still buffered nowhere: Python would complain once more while it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
