"""`fleet-sync approve DIGEST`: approves the held changes of exactly one plan for 24 hours.

Invariant: nothing is applied here; the next run whose plan has this digest may apply it. Neighbours: `once --approve`
does both and takes the same digests; `core.safety.guard` says how long an approval lasts.
"""

import datetime
import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from worker.cli import context
from worker.core.model.identifiers import Account
from worker.core.model.outcomes import Already, Applied
from worker.core.model.plan import Action, Change
from worker.core.model.plan_digest import plan_digest
from worker.core.monitoring import humanize
from worker.core.safety import guard

if TYPE_CHECKING:
    from worker.core.model.ports import PastRun, RunHistory

_RECENT = 20
"""How many of the newest runs are searched for one that holds changes."""


_DONE = (Applied.name, Already.name)
_NO_MATCH = "No recent run holds a plan with this digest yet."


class Digest(click.ParamType[str]):
    """A digest as plans show it."""

    name = "digest"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the digest, or fail if it is malformed."""
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
            self.fail("write the digest as the plan shows it: sha256: and 64 hexadecimal digits", param, ctx)
        return value


@click.command
@click.argument("digest", type=Digest())
@click.pass_obj
def approve(command_context: context.CommandContext, digest: str) -> int:
    """Approve the held changes of exactly the plan with this digest, for 24 hours."""
    return command_context.with_journal(functools.partial(_approve, digest=digest))


async def _approve(record: "RunHistory", *, digest: str) -> int:
    now = datetime.datetime.now(datetime.UTC)
    until = now + guard.APPROVAL_LIFETIME
    await record.approve(digest, now=now, until=until)
    context.print_text(
        f"Approved until {until:%Y-%m-%d %H:%M} UTC: the held changes of exactly this plan. "
        "A running service applies them within seconds."
    )
    context.print_text(await _effect(record, digest))
    return 0


async def _effect(record: "RunHistory", digest: str) -> str:
    """Return what the approval allows, as far as past runs show. An approval may also precede the first run."""
    for past in await record.runs(limit=_RECENT):
        plan, report = await record.documents(past.run)
        if not plan or not plan["held"]:
            continue
        remaining = _remaining_digest(plan, report)
        if digest == remaining:
            return _allowed(past, plan)
        if digest == plan["digest"]:
            return f"It allows nothing: {past.run} applied the rest of this plan. Approve what remains: {remaining}"
        return f"{_NO_MATCH} The newest run with held changes is {past.run}; its digest is {remaining}"
    return _NO_MATCH


def _remaining_digest(plan: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    """Return the digest of what a run left of its plan, as `core.model.report` does when a run ends."""
    applied = {_write(each) for each in (report or {}).get("changes", ()) if each["outcome"] in _DONE}
    remaining = (each for each in plan["changes"] if _write(each) not in applied)
    account = Account(plan["account"]["base_url"], plan["account"]["mode"])
    return plan_digest(account, map(_change, remaining), map(_change, plan["held"]))


def _write(change: Mapping[str, Any]) -> tuple[str, str, str]:
    return change["action"], change["driver"], change["fleet"]


def _change(change: Mapping[str, Any]) -> Change:
    return Change(Action(change["action"]), change["driver"], change["fleet"])


def _allowed(past: "PastRun", plan: Mapping[str, Any]) -> str:
    number = sum(held["guard"] != guard.MUST_SEE for held in plan["held"])
    if not number:
        return f"It allows nothing: no approval lifts what {past.run} held ({guard.MUST_SEE})."
    changes = humanize.count(number, "change")
    return f"It allows the {changes} that {past.run} held at {past.started:%Y-%m-%d %H:%M} UTC."
