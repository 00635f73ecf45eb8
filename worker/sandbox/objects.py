"""Encodes drivers, fleets and errors as the reference shows them.

Invariant: every object has every field of the reference, apart from what `quirks` changes.
Neighbours: `endpoints` chooses the object, `state` holds its data, and `pages` puts objects into lists.
"""

import dataclasses
from typing import Any, Final

import msgspec

from worker.sandbox import http_types, state
from worker.sandbox.quirks import Malformation, Quirks

TYPES: Final = {401: "authentication_error", 403: "permission_error", 409: "conflict_error", 429: "rate_limit_error"}

_OTHER_TYPES: Final[dict[str, Any]] = {"email": {}, "fleets": "none", "name": 4, "metadata": [], "status": 1}

_encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """The request is refused with this answer."""

    def __init__(self, answer: http_types.Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def answer(payload: object, *, status: int = 200) -> http_types.Answer:
    """Return a payload as an encoded answer."""
    return http_types.Answer(status, _encode(payload))


def error(
    request: http_types.Request, status: int, code: str | None, message: str, *, param: str | None = None
) -> http_types.Answer:
    """Return an encoded error object."""
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


def driver(account: state.SandboxState, id: str, quirks: Quirks) -> dict[str, Any]:
    """Return the driver object of the current state."""
    record = account.drivers[id]
    tail = id[4:]
    lists = _lists(quirks)
    shown = {
        "id": id,
        "object": "driver",
        "created": record.created,
        "email": record.email,
        "fleets": lists(account.fleets_of(id)),
        "license_number": None,
        "metadata": record.metadata,
        "name": record.name,
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
        "status": record.status,
        "updated": account.updated.get(id, record.created),
        "vehicles": lists((vehicle(id),)),
        "wallet_balance": record.number * 37 % 5000,
    }
    return _finish(shown, record.number, quirks)


def fleet(account: state.SandboxState, id: str, quirks: Quirks) -> dict[str, Any]:
    """Return the fleet object of the current state."""
    record = account.fleets[id]
    count = account.count(id)
    lists = _lists(quirks)
    shown = {
        "id": id,
        "object": "fleet",
        "address": {"line1": "1 Depot Road", "line2": None, "city": "Paris", "postal_code": "75001", "country": "FR"},
        "created": record.created,
        "description": None,
        "email": f"fleet{record.number}@example.com",
        "metadata": {},
        "metric_system": "international_system",
        "name": record.name,
        "phone": None,
        "policy_ids": lists(()),
        "preferences": {"charging_speed": "fast", "currency": "eur", "notifications": True},
        "status": record.status,
        "timezone": "Europe/Paris",
        "total_drivers": max(0, count + quirks.total_drivers_offset),
        "total_energy_consumed_kwh": count * 201.1,
        "total_sessions": count * 8,
        "total_vehicles": count,
        "updated": account.updated.get(id, record.created),
        "wallet_balance": record.number * 1009 % 50_000,
    }
    return _finish(shown, record.number, quirks)


def vehicle(driver: str) -> str:
    """Return the id of the driver's only vehicle: the id of the driver, reversed."""
    return f"veh_{driver[:3:-1]}"


def wrong_types(original: http_types.Answer) -> http_types.Answer:
    """Return an answer whose JSON has the expected field names with values of other types."""
    thing = {"id": 17, "object": ["driver"], **_OTHER_TYPES}
    payload = {"data": [thing], "next_page_url": 0, "previous_page_url": False, "total_drivers": "many"} | thing
    return dataclasses.replace(original, body=_encode(payload))


def html(status: int) -> http_types.Answer:
    """Return an HTML error page as a gateway would send it."""
    page = f"<!doctype html><html><head><title>{status}</title></head><body><h1>{status}</h1><hr>gateway</body></html>"
    return http_types.Answer(status, page.encode(), content_type=b"text/html")


def _lists(quirks: Quirks) -> Any:
    return (lambda items: items or None) if quirks.null_lists else (lambda items: items)


def malform(shown: dict[str, Any], how: Malformation) -> dict[str, Any]:
    """Return an object with this malformation."""
    match how:
        case "surrogate":
            # The encoder refuses half a surrogate pair, so these bytes bypass it.
            return shown | {"name": msgspec.Raw(rb'"Jos\ud83d"')}
        case "types":
            return shown | _OTHER_TYPES
        case "no_id":
            return shown | {"id": 17}


def _finish(shown: dict[str, Any], number: int, quirks: Quirks) -> dict[str, Any]:
    if quirks.unknown_values:
        shown = _with_unknown_values(shown, number)
    how = quirks.malformed.get(shown["id"])
    return malform(shown, how) if how else shown


def _with_unknown_values(shown: dict[str, Any], number: int) -> dict[str, Any]:
    status = "in_review" if shown["status"] == "active" and number % 3 == 0 else shown["status"]
    return shown | {"status": status, "loyalty": {"tier": "gold", "since": None}, "beta_features": ["x"]}
