"""Commands that are printed to be pasted into a shell.

Invariant: a printed command reaches the account of the call that prints it: it has the same `--config` and
`--account`. In texts of other packages, commands are written without them, in backticks. Neighbours: `context` and
`main` complete the commands in errors, `render` and others print commands with their results.
"""

import re
import shlex
from collections.abc import Iterator

import click

from worker.core.model.secret import redact

_IN_BACKTICKS = re.compile(r"`fleet-sync ([a-z]+)")
_ABOUT_ALL_ACCOUNTS = frozenset({"accounts", "worker"})
_ABOUT_ONE_OR_ALL = frozenset({"check", "run"})
ADOPTING = frozenset({"plan", "apply", "once", "run"})
"""Commands that refuse the journal of another account without `--adopt-journal`."""


def command(name: str, *arguments: str) -> str:
    """Return a command for the account of this call, quoted for a shell."""
    ctx = click.get_current_context(silent=True)
    adopt = ("--adopt-journal",) if ctx and ctx.params.get("adopt") and name in ADOPTING else ()
    return shlex.join(("fleet-sync", *_options(name, ctx), name, *arguments, *adopt))


def completed(text: str, ctx: click.Context | None = None) -> str:
    """Return a text whose commands in backticks are for the account of this call, or of the call of `ctx`."""
    ctx = ctx or click.get_current_context(silent=True)
    return _IN_BACKTICKS.sub(lambda found: f"`{shlex.join(('fleet-sync', *_options(found[1], ctx), found[1]))}", text)


def _options(name: str, ctx: click.Context | None) -> Iterator[str]:
    """Yield the options of the call that say which account is meant; the environment says it to every call alike."""
    if ctx is None:
        return
    root = ctx.find_root()
    for option in ("config",) if name in _ABOUT_ALL_ACCOUNTS else ("config", "account"):
        if root.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE:
            yield from (f"--{option}", redact(root.params[option]))
    if root.obj is not None and root.obj.has_all_accounts and name not in _ABOUT_ALL_ACCOUNTS | _ABOUT_ONE_OR_ALL:
        yield from ("--account", "NAME")
