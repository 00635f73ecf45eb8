"""`fleet-sync approve DIGEST`: approves exactly these held changes, once, within 24 hours.

Invariant: nothing is applied here; the next run that holds exactly these changes may apply them, and uses the approval
up. Neighbours: `once --approve` does both and takes the same digests; `core.safety.guard` says how long an approval
lasts.
"""

import datetime
import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from worker.cli import command_line, context, help_page
from worker.core.monitoring import humanize
from worker.core.safety import guard

if TYPE_CHECKING:
    from worker.core.model.ports import PastRun, RunHistory

_RECENT = 100
"""How many of the newest runs are searched for one that holds changes."""

_LONGEST_NAME = 100
_NO_MATCH = "No recent run has held changes with this digest yet."


class Digest(click.ParamType[str]):
    """A digest as plans show it."""

    name = "digest"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the digest, or fail if it is malformed."""
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
            self.fail("write the digest as the plan shows it: sha256: and 64 hexadecimal digits", param, ctx)
        return value


class Name(click.ParamType[str]):
    """The name of the person who approves."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name without spaces around it, or fail if it cannot be shown on one line."""
        name = value.strip()
        if not name or not name.isprintable() or len(name) > _LONGEST_NAME:
            self.fail(f"write a name of 1 to {_LONGEST_NAME} printable characters", param, ctx)
        return name


@click.command(cls=help_page.Command, epilog="fleet-sync approve sha256:DIGEST")
@click.argument("digest", type=Digest())
@click.option("--by", type=Name(), help="Who approves, for the record. Nothing verifies it.")
@click.pass_obj
def approve(command_context: context.CommandContext, digest: str, by: str | None) -> int:
    """Approve exactly the held changes with this digest, once, within 24 hours."""
    return command_context.with_journal(functools.partial(_approve, digest=digest, by=by or ""))


async def _approve(record: "RunHistory", *, digest: str, by: str) -> int:
    now = datetime.datetime.now(datetime.UTC)
    until = now + guard.APPROVAL_LIFETIME
    await record.approve(digest, now=now, until=until, by=by)
    context.print_text(
        f"Approved until {until:%Y-%m-%d %H:%M} UTC, once: exactly the held changes with this digest. "
        "A running service applies them within seconds."
    )
    effect, warning = await _effect(record, digest)
    if warning:
        context.print_text(f"{click.style('warning:', fg='yellow', bold=True)} {effect}", err=True)
    else:
        context.print_text(effect)
    return 0


async def _effect(record: "RunHistory", digest: str) -> tuple[str, bool]:
    """Return what the approval allows, as far as past runs show, and whether that is a warning.

    An approval may also precede the run that needs it.
    """
    newest = ""
    for past in await record.runs(limit=_RECENT):
        plan, _ = await record.documents(past.run)
        if not plan or not (held := plan["held_digest"]):
            continue
        if digest == held:
            return _allowed(past, plan)
        if digest == plan["digest"]:
            advice = f"To approve its held changes: {command_line.command('approve', held)}"
            return f"It allows nothing: this is the digest of the whole plan. {advice}", True
        newest = newest or f" The newest run with held changes is {past.run}; their digest is {held}"
    return f"{_NO_MATCH}{newest}", True


def _allowed(past: "PastRun", plan: Mapping[str, Any]) -> tuple[str, bool]:
    number = sum(held["guard"] != guard.MUST_SEE for held in plan["held"])
    shrunk = humanize.count(len(plan["shrunk"]), "source")
    if not number and plan["shrunk"]:
        accepted = f"It accepts that {shrunk} lost rows, as {past.run} found"
        return f"{accepted}: its next detaches are not held for that.", False
    if not number:
        return f"It allows nothing: no approval lifts what {past.run} held ({guard.MUST_SEE}).", True
    changes = humanize.count(number, "change") + (f", and accepts {shrunk} that lost rows," if plan["shrunk"] else "")
    return f"It allows the {changes} that {past.run} held at {past.started:%Y-%m-%d %H:%M} UTC.", False
