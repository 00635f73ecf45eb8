"""Shows a text that is longer than the terminal page by page.

Invariant: no secret of the environment goes to the pager: it may run other programs. Neighbours: `plan` shows long
plans with it; `context` prints everything else.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping

import click

from worker.cli import context, layout, progress

_DEFAULT = "less"
_LESS = "FRX"
"""Options for less, unless the operator has set some: colors, no pager for a short text, and the text stays."""


def show(text: str) -> None:
    """Print a text; on a terminal that is too short for it, through $PAGER or less."""
    fitted = layout.fit(text, layout.columns(sys.stdout))
    program = _program(os.environ) if _is_too_long(fitted) else []
    if not program:
        context.print_text(text)
        return
    if click.get_current_context().color is False:
        fitted = click.unstyle(fitted)
    progress.clear()
    subprocess.run(  # noqa: S603 - the operator's own program, without a shell
        program, input=f"{fitted}\n", env=_environment(os.environ), encoding="utf-8", errors="replace", check=False
    )


def _is_too_long(text: str) -> bool:
    """Return whether people read this on a terminal with fewer rows."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        return False
    rows = os.get_terminal_size(sys.stdout.fileno()).lines
    return 0 < rows <= text.count("\n") + 1


def _program(environ: Mapping[str, str]) -> list[str]:
    """Return the pager and its arguments, or nothing if it is not installed."""
    try:
        arguments = shlex.split(environ.get("PAGER") or _DEFAULT)
    except ValueError:
        arguments = [_DEFAULT]
    return arguments if arguments and shutil.which(arguments[0]) else []


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    ours = ("CHARGE_", "FLEET_SYNC_")
    kept = {name: value for name, value in environ.items() if not name.startswith(ours)}
    return {"LESS": _LESS, **kept}
