"""What each kind of receiver gets, held to the schemas that the services document."""

from typing import Any

import jsonschema
import pytest

from worker.core.model.secret import Secret
from worker.core.monitoring.notifications import Kind, Notification
from worker.notifications import payloads

ACCOUNT = {"base_url": "https://api.chargeapi.co/v1", "mode": "live"}
HOSTILE = (
    "fleet-sync, live account: held.\n1 detach held.\n*Vans* &lt;!channel&gt; [x](http://evil.example) @\u200bhere: 1"
)

SLACK: dict[str, Any] = {
    "type": "object",
    "required": ["text"],
    "additionalProperties": False,
    "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 40_000}},
}
BLOCK: dict[str, Any] = {
    "type": "object",
    "required": ["type", "text"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "TextBlock"},
        "text": {"type": "string", "minLength": 1},
        "wrap": {"const": True},
        "weight": {"enum": ["default", "lighter", "bolder"]},
        "color": {"enum": ["default", "dark", "light", "accent", "good", "warning", "attention"]},
    },
}
CARD: dict[str, Any] = {
    "type": "object",
    "required": ["$schema", "type", "version", "body"],
    "properties": {
        "type": {"const": "AdaptiveCard"},
        "version": {"enum": ["1.2", "1.4"]},
        "body": {"type": "array", "minItems": 1, "items": BLOCK},
    },
}
ATTACHMENT: dict[str, Any] = {
    "type": "object",
    "required": ["contentType", "content"],
    "properties": {
        "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
        "contentUrl": {"type": "null"},
        "content": CARD,
    },
}
TEAMS: dict[str, Any] = {
    "type": "object",
    "required": ["type", "attachments"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "message"},
        "attachments": {"type": "array", "minItems": 1, "maxItems": 1, "items": ATTACHMENT},
    },
}
INCIDENT: dict[str, Any] = {
    "type": "object",
    "required": ["summary", "source", "severity"],
    "additionalProperties": False,
    "properties": {
        "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
        "source": {"type": "string", "minLength": 1},
        "severity": {"enum": ["critical", "error", "warning", "info"]},
        "timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"},
        "component": {"type": "string"},
        "custom_details": {"type": "object"},
    },
}
PAGERDUTY: dict[str, Any] = {
    "type": "object",
    "required": ["routing_key", "event_action", "dedup_key"],
    "additionalProperties": False,
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "minLength": 1, "maxLength": 255},
        "payload": INCIDENT,
    },
    "if": {"properties": {"event_action": {"const": "trigger"}}},
    "then": {"required": ["payload"]},
}
SCHEMAS = {"slack": SLACK, "teams": TEAMS, "pagerduty": PAGERDUTY}
KEY = Secret("R" * 32)


def notification(kind: Kind, *parts: str, text: str = HOSTILE) -> Notification:
    items = [{"part": part} for part in parts]
    body = {"text": text, "kind": kind.value, "account": ACCOUNT, "items": items, "at": "2026-11-23T14:55:58.508Z"}
    return Notification(kind, text, body)


EVERY = {
    Kind.BROKEN: notification(Kind.BROKEN, "source", "journal"),
    Kind.HELD: notification(Kind.HELD),
    Kind.REFUSED: notification(Kind.REFUSED),
    Kind.RECOVERED: notification(Kind.RECOVERED, "source", "held"),
}


@pytest.mark.integration
@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("service", SCHEMAS)
def test_a_service_gets_what_it_accepts(service: str, kind: Kind, long: bool) -> None:
    said = EVERY[kind]
    if long:
        said = notification(kind, *(item["part"] for item in said.body["items"]), text="long and longer\n" * 5000)
    made = payloads.payloads(service, said, routing_key=KEY)
    assert made
    for each in made:
        jsonschema.validate(each, SCHEMAS[service])


def test_a_plain_webhook_gets_the_documented_body() -> None:
    assert payloads.payloads("webhook", EVERY[Kind.HELD]) == [EVERY[Kind.HELD].body]


def test_accounts_of_one_charge_have_incidents_of_their_own() -> None:
    keys = set()
    for name in ("acme", "bolt"):
        said = EVERY[Kind.HELD]
        named = Notification(said.kind, said.text, {**said.body, "account": {**ACCOUNT, "name": name}})
        [event] = payloads.payloads("pagerduty", named, routing_key=KEY)
        assert name in event["payload"]["source"]
        keys.add(event["dedup_key"])
    assert len(keys) == 2


def test_an_incident_is_closed_by_the_key_that_opened_it() -> None:
    opened = [each["dedup_key"] for each in payloads.payloads("pagerduty", EVERY[Kind.BROKEN], routing_key=KEY)]
    opened += [each["dedup_key"] for each in payloads.payloads("pagerduty", EVERY[Kind.HELD], routing_key=KEY)]
    closed = payloads.payloads("pagerduty", EVERY[Kind.RECOVERED], routing_key=KEY)
    assert [each["dedup_key"] for each in closed] == [opened[0], opened[2]]
    assert {each["event_action"] for each in closed} == {"resolve"}
    assert len(set(opened)) == 3


def test_names_cannot_become_markup() -> None:
    (card,) = payloads.payloads("teams", EVERY[Kind.HELD])
    line = card["attachments"][0]["content"]["body"][2]["text"]
    assert line.startswith(r"\*Vans\* <\!channel\> \[x\]\(http://evil.example\)")
    (event,) = payloads.payloads("pagerduty", EVERY[Kind.HELD], routing_key=KEY)
    assert "*Vans* <!channel>" in event["payload"]["summary"]


@pytest.mark.parametrize(
    ("kind", "color", "severities"),
    [
        (Kind.BROKEN, "attention", ["critical", "critical"]),
        (Kind.HELD, "attention", ["warning"]),
        (Kind.REFUSED, "attention", ["error"]),
        (Kind.RECOVERED, "good", []),
    ],
)
def test_what_needs_attention_does_not_look_like_good_news(kind: Kind, color: str, severities: list[str]) -> None:
    (card,) = payloads.payloads("teams", EVERY[kind])
    first, *rest = card["attachments"][0]["content"]["body"]
    assert (first["color"], first["weight"], [each.keys() & {"color", "weight"} for each in rest]) == (
        color,
        "bolder",
        [set()] * len(rest),
    )
    events = payloads.payloads("pagerduty", EVERY[kind], routing_key=KEY)
    assert [each["payload"]["severity"] for each in events if each["event_action"] == "trigger"] == severities
