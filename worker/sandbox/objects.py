"""What clients see: drivers, fleets and errors as the reference shows them, encoded.

Invariant: every object has every field of the reference; only what `behaviour` leaves open differs.
Neighbours: `endpoints` decides which object, `roster` holds the facts, `pages` puts them into lists.
"""

import dataclasses
from typing import Any, Final

import msgspec

from worker.sandbox import http_types, quirks, state

TYPES: Final = {401: "authentication_error", 403: "permission_error", 409: "conflict_error", 429: "rate_limit_error"}

_encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """A request ends here, with this answer."""

    def __init__(self, answer: http_types.Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def answer(payload: object, *, status: int = 200) -> http_types.Answer:
    """Encode a payload as a reply."""
    return http_types.Answer(status, _encode(payload))


def error(
    request: http_types.Request, status: int, code: str | None, message: str, *, param: str | None = None
) -> http_types.Answer:
    """Encode the one error object."""
    default = "api_error" if status >= 500 else "invalid_request_error"
    payload = {
        "object": "error",
        "type": TYPES.get(status, default),
        "code": code,
        "message": message,
        "param": param,
        "request": request.id,
        "status": status,
        "doc_url": f"https://docs.chargeapi.co/errors#{code or status}",
    }
    return answer(payload, status=status)


def driver(held: state.SandboxState, id: str, behaviour: quirks.Quirks) -> dict[str, Any]:
    """Show a driver as it is now."""
    person = held.drivers[id]
    tail = id[4:]
    lists = _lists(behaviour)
    shown = {
        "id": id,
        "object": "driver",
        "created": person.created,
        "email": person.email,
        "fleets": lists(held.fleets_of(id)),
        "license_number": None,
        "metadata": person.metadata,
        "name": person.name,
        "phone": None,
        "policy_ids": lists(()),
        "preferences": {
            "charging_speed": "fast",
            "currency": "eur",
            "default_payment_method": None,
            "max_price_per_kwh": None,
            "notifications": True,
            "preferred_charging_stations": lists((f"chst_{tail}",)),
            "preferred_cpos": lists(()),
        },
        "status": person.status,
        "updated": held.updated.get(id, person.created),
        "vehicles": lists((vehicle(id),)),
        "wallet_balance": person.number * 37 % 5000,
    }
    return _strange(shown, person.number) if behaviour.unknown_values else shown


def fleet(held: state.SandboxState, id: str, behaviour: quirks.Quirks) -> dict[str, Any]:
    """Show a fleet as it is now."""
    facts = held.fleets[id]
    count = held.count(id)
    lists = _lists(behaviour)
    shown = {
        "id": id,
        "object": "fleet",
        "address": {"line1": "1 Depot Road", "line2": None, "city": "Paris", "postal_code": "75001", "country": "FR"},
        "created": facts.created,
        "description": None,
        "email": f"fleet{facts.number}@example.com",
        "metadata": {},
        "metric_system": "international_system",
        "name": facts.name,
        "phone": None,
        "policy_ids": lists(()),
        "preferences": {"charging_speed": "fast", "currency": "eur", "notifications": True},
        "status": facts.status,
        "timezone": "Europe/Paris",
        "total_drivers": max(0, count + behaviour.total_drivers_offset),
        "total_energy_consumed_kwh": count * 201.1,
        "total_sessions": count * 8,
        "total_vehicles": count,
        "updated": held.updated.get(id, facts.created),
        "wallet_balance": facts.number * 1009 % 50_000,
    }
    return _strange(shown, facts.number) if behaviour.unknown_values else shown


def vehicle(driver: str) -> str:
    """Give the id of a driver's one vehicle: the driver's own, backwards."""
    return f"veh_{driver[:3:-1]}"


def wrong_types(kept: http_types.Answer) -> http_types.Answer:
    """Make a reply that is JSON and has the right names, and nothing else that fits."""
    thing = {"id": 17, "object": ["driver"], "email": {}, "fleets": "none", "name": 4, "metadata": [], "status": 1}
    payload = {"data": [thing], "next_page_url": 0, "previous_page_url": False, "total_drivers": "many"} | thing
    return dataclasses.replace(kept, body=_encode(payload))


def html(status: int) -> http_types.Answer:
    """Make the page that a gateway in front answers with."""
    page = f"<!doctype html><html><head><title>{status}</title></head><body><h1>{status}</h1><hr>gateway</body></html>"
    return http_types.Answer(status, page.encode(), content_type=b"text/html")


def _lists(behaviour: quirks.Quirks) -> Any:
    return (lambda items: items or None) if behaviour.null_lists else (lambda items: items)


def _strange(shown: dict[str, Any], number: int) -> dict[str, Any]:
    status = "in_review" if shown["status"] == "active" and number % 3 == 0 else shown["status"]
    return shown | {"status": status, "loyalty": {"tier": "gold", "since": None}, "beta_features": ["x"]}
