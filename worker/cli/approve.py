"""`fleet-sync approve DIGEST`: allows what exactly that plan holds, for 24 hours.

Invariant: nothing is applied here; the next run whose plan has this digest may. Neighbours: `once --approve` does both,
and takes the same digests; `core.guard` says for how long.
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
"""Among so many of the newest runs is looked for the one that holds something."""


class Digest(click.ParamType[str]):
    """A digest as plans show it."""

    name = "digest"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what names no plan."""
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
            self.fail("write the digest as the plan shows it: sha256: and 64 hexadecimal digits", param, ctx)
        return value


@click.command("approve")
@click.argument("digest", type=Digest())
@click.pass_obj
def command(call: context.CommandContext, digest: str) -> int:
    """Allow what exactly the plan of this digest holds, for 24 hours."""
    return call.look_up(functools.partial(_approve, digest=digest))


async def _approve(record: "RunHistory", *, digest: str) -> int:
    now = datetime.datetime.now(datetime.UTC)
    until = now + guard.APPROVAL_LIFETIME
    await record.approve(digest, now=now, until=until)
    context.echo(
        f"Allowed until {until:%Y-%m-%d %H:%M} UTC: what exactly this plan holds. A service takes it up within seconds."
    )
    context.echo(await _effect(record, digest))
    return 0


async def _effect(record: "RunHistory", digest: str) -> str:
    """Say what the approval frees, as far as past runs tell: it may as well be given before the first of them."""
    for past in await record.runs(limit=_RECENT):
        plan, report = await record.documents(past.run)
        if not plan or not plan["held"]:
            continue
        left = _left(plan, report)
        if digest == left:
            return _freed(past, plan)
        if digest == plan["digest"]:
            return f"It frees nothing: {past.run} made the rest of this plan. Approve what it left: {left}"
        return f"{_NOBODYS} The newest hold is that of {past.run}: {left}"
    return _NOBODYS


def _left(plan: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    """Give the digest of what a run left of its plan, as `core.report` does for one that just ended."""
    made = {_write(each) for each in (report or {}).get("changes", ()) if each["outcome"] in _DONE}
    left = (each for each in plan["changes"] if _write(each) not in made)
    account = Account(plan["account"]["base_url"], plan["account"]["mode"])
    return plan_digest(account, map(_change, left), map(_change, plan["held"]))


def _write(change: Mapping[str, Any]) -> tuple[str, str, str]:
    return change["action"], change["driver"], change["fleet"]


def _change(change: Mapping[str, Any]) -> Change:
    return Change(Action(change["action"]), change["driver"], change["fleet"])


_DONE = (Applied.name, Already.name)


_NOBODYS = "No recent run holds a plan with this digest yet."


def _freed(past: "PastRun", plan: Mapping[str, Any]) -> str:
    number = sum(held["guard"] != guard.MUST_SEE for held in plan["held"])
    if not number:
        return f"It frees nothing: no approval lifts what {past.run} held back ({guard.MUST_SEE})."
    changes = humanize.count(number, "change")
    return f"It frees the {changes} that {past.run} held back at {past.started:%Y-%m-%d %H:%M} UTC."
