"""Sends the notifications of a single run of a job: what the run before has notified is not sent again.

Invariant: nothing that goes wrong here changes the result of the run. Neighbours: `cli.once` calls this after its run,
`core.monitoring.notifications` decides, `notifications.webhook` delivers.
"""

import functools
from collections.abc import Sequence

import structlog

from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.outcomes import REFUSED_BEFORE, Refused
from worker.core.model.plan import Action, Change
from worker.core.model.ports import RunHistory
from worker.core.model.problem import ProblemCode
from worker.core.monitoring import notifications, status
from worker.notifications import webhook
from worker.service import composition, network
from worker.settings import secrets

log = structlog.get_logger()

_MAX_RUNS = 20
"""How many of the newest runs are searched for one that sent notifications."""


def hook(target: secrets.NotificationTarget) -> webhook.Webhook:
    """Return what posts to a target. Create it inside the event loop."""
    return webhook.Webhook(
        target.url,
        user_agent=composition.USER_AGENT,
        transport=functools.partial(webhook.network_transport, network.webhook_context(target.url)),
        receiver=webhook.Receiver(
            target.kind, frozenset(map(notifications.Kind, target.events)), routing_key=target.routing_key
        ),
    )


async def notify(present: status.Status, record: RunHistory, hooks: Sequence[webhook.Webhook]) -> None:
    """Send what has changed since the run before; nothing after a run that another process kept from starting."""
    error = present.last.error if present.last else None
    if not hooks or isinstance(error, JournalBusy):
        return
    try:
        new, _ = notifications.diff(present, await _state_before(present, record))
    except Exception:  # a defect in a notification must not change the result of the run
        log.exception("notice_crashed")
        return
    for hook in hooks:
        for notification in new:
            hook.enqueue(notification)
        await hook.deliver_queued()


async def _state_before(present: status.Status, record: RunHistory) -> notifications.NotificationState:
    """Return what the run before the last one reported to receivers, as its plan and report show.

    In a cluster another worker may have begun the next run, so the newest run need not be that of this process.
    """
    try:
        own = present.last.run if present.last else None
        recorded = own is not None and await record.run(own) is not None
        past = await record.runs(limit=_MAX_RUNS, before=own if recorded else None)
        # `apply` sends no notifications, and a run that was killed has sent none.
        notifying = [each.run for each in past if each.trigger != "apply" and each.finished]
        if not notifying:
            return notifications.NotificationState()
        plan, report = await record.documents(notifying[0])
    except JournalError:
        return notifications.NotificationState()
    error = (report or {}).get("error")
    refused = frozenset(
        Change(Action(each["action"]), each["driver"], each["fleet"]).order
        for each in (report or {}).get("changes", ())
        if each["outcome"] == Refused.name or each["code"] == REFUSED_BEFORE
    )
    return notifications.NotificationState(
        held=frozenset({plan["held_digest"]} if plan and plan["held_digest"] else ()),
        refused=refused,
        broken=frozenset() if error is None else frozenset({_part(error["code"], present)}),
        vanished=frozenset(
            each["where"] for each in (plan or {}).get("problems", ()) if each["code"] == ProblemCode.SCOPE_SHRANK
        ),
    )


def _part(code: str, present: status.Status) -> str:
    """Return what was broken in the run before: what is broken now, if it is the same."""
    same = (each.part.value for each in present.broken if each.error.code == code)
    prefixes = {"source": status.Part.SOURCE, "key": status.Part.KEY, "journal": status.Part.JOURNAL}
    by_name = prefixes.get(code.split("_", 1)[0])
    return next(same, by_name.value if by_name else notifications.RUN)
