"""Turns notifications into what each kind of receiver accepts.

Invariant: the text says the same everywhere, and a name in it cannot become markup, a link or a mention. Neighbours:
`webhook` posts the results, `core.monitoring.notifications` makes the text, which is escaped as Slack requires.
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from worker.core.model.secret import Secret
from worker.core.monitoring.notifications import Kind, Notification

Payload = Mapping[str, Any]

_LONGEST_SLACK: Final = 39_000
_LONGEST_CARD: Final = 24_000
_LONGEST_SUMMARY: Final = 1024
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()#+~>|!-])")
_SEVERITIES: Final = {Kind.BROKEN: "critical", Kind.HELD: "warning", Kind.REFUSED: "error"}


def payloads(kind: str, notification: Notification, *, routing_key: Secret | None = None) -> Sequence[Payload]:
    """Return the documents to post, in order. Only `pagerduty` needs the routing key, and may need several events."""
    match kind:
        case "slack":
            return [{"text": notification.text[:_LONGEST_SLACK]}]
        case "teams":
            return [_card(notification)]
        case "pagerduty":
            return _events(notification, routing_key.reveal() if routing_key else "")
        case _:
            return [notification.body]


def _card(notification: Notification) -> Payload:
    """Return an adaptive card in the message that a Teams workflow expects."""
    first, *rest = html.unescape(notification.text[:_LONGEST_CARD]).split("\n")
    color = "good" if notification.kind is Kind.RECOVERED else "attention"
    blocks = [
        {"type": "TextBlock", "text": _MARKDOWN.sub(r"\\\1", first), "wrap": True, "weight": "bolder", "color": color},
        *({"type": "TextBlock", "text": _MARKDOWN.sub(r"\\\1", line), "wrap": True} for line in rest if line),
    ]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _events(notification: Notification, routing_key: str) -> Sequence[Payload]:
    """Return an event that opens an incident for each thing that began, or closes the one of each that ended."""
    body = notification.body
    about = body["account"]
    account = " ".join(filter(None, (about["base_url"], f"({about['mode']})", about.get("name"))))

    def event(action: str, subject: str) -> dict[str, Any]:
        return {
            "routing_key": routing_key,
            "event_action": action,
            "dedup_key": f"fleet-sync {account} {subject}"[:255],
        }

    if notification.kind is Kind.RECOVERED:
        return [event("resolve", each["part"]) for each in body["items"]]
    subjects = [each["part"] for each in body["items"]] if notification.kind is Kind.BROKEN else [notification.kind]
    text = html.unescape(notification.text)
    payload = {
        "summary": " ".join(text.split("\n"))[:_LONGEST_SUMMARY],
        "source": account,
        "severity": _SEVERITIES[notification.kind],
        "timestamp": body["at"],
        "component": "fleet-sync",
        "custom_details": dict(body),
    }
    return [{**event("trigger", str(subject)), "payload": payload} for subject in subjects]
