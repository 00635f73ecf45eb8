"""Decodes the objects of Charge's API, and its errors.

Invariant: whatever does not have the documented shape is an error, never an empty value: a driver without `fleets` is
unreadable, not a driver in no fleet. Facts are from Charge's API reference (drivers, fleets, pagination, errors).
Neighbours: `transport` delivers the bytes, `pages` reads listings with these objects.
"""

import dataclasses
import datetime
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from worker.charge import pause_headers
from worker.core.model.actual import Driver, Fleet
from worker.core.model.errors import (
    ChargeError,
    Conflict,
    ForeignOrigin,
    KeyRejected,
    NotFound,
    OtherVersion,
    RateLimited,
    RequestRefused,
    ServerFault,
    StillProcessing,
    Unreachable,
)
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.secret import KEY_PREFIX, redact

_DriverId = Annotated[str, msgspec.Meta(pattern=r"^drv_[A-Za-z0-9]+\Z")]
_FleetId = Annotated[str, msgspec.Meta(pattern=r"^flt_[A-Za-z0-9]+\Z")]


MAX_COUNT = 1_000_000_000
"""The largest number of drivers in a fleet that is believed; a larger one counts as not sent."""


class DriverObject(msgspec.Struct):
    """The fields of a driver that matter here. A list may be null if it is empty; it may not be missing."""

    id: _DriverId
    fleets: list[FleetId] | None
    email: str | None = None
    name: str | None = None
    metadata: dict[str, Any] | None = None
    status: str | None = None
    created: Any = None

    def driver(self) -> Driver:
        """Return the driver as a value."""
        return Driver(
            id=DriverId(self.id),
            fleets=frozenset(self.fleets or ()),
            email=_without_key(self.email),
            name=_without_key(self.name),
            metadata={
                key: entry if type(entry) is str else _text(entry)
                for key, entry in (self.metadata or {}).items()
                if entry is not None
            },
            status=self.status or "active",
        )


class FleetObject(msgspec.Struct):
    """The fields of a fleet that matter here."""

    id: _FleetId
    name: str | None = None
    status: str | None = None
    total_drivers: int | None = None
    timezone: str | None = None
    created: Any = None

    def fleet(self) -> Fleet:
        """Return the fleet as a value."""
        total = self.total_drivers
        return Fleet(
            FleetId(self.id),
            _without_key(self.name),
            self.status or "",
            total_drivers=total if total is not None and 0 <= total <= MAX_COUNT else None,
            timezone=self.timezone or "",
        )


class DriverList(msgspec.Struct):
    """A page of drivers."""

    data: list[DriverObject] | None
    next_page_url: str | None


class FleetList(msgspec.Struct):
    """A page of fleets."""

    data: list[FleetObject] | None
    next_page_url: str | None


Object = TypeVar("Object", DriverObject, FleetObject)


@dataclasses.dataclass(frozen=True, slots=True)
class Kind(Generic[Object]):
    """One kind of object: the prefix of its ids, and the decoders of an object and of a page."""

    prefix: str
    object: msgspec.json.Decoder[Object]
    page: "msgspec.json.Decoder[Any]"


# float_hook: numbers in metadata stay as they are written, because 1e5 is not the text 100000.0.
DRIVERS = Kind(
    "drv_",
    msgspec.json.Decoder(DriverObject, float_hook=msgspec.Raw),
    msgspec.json.Decoder(DriverList, float_hook=msgspec.Raw),
)
FLEETS = Kind("flt_", msgspec.json.Decoder(FleetObject), msgspec.json.Decoder(FleetList))

UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)
"""What a decoder raises. ValueError: text that is not UTF-8, or an integer of too many digits."""


class _ErrorObject(msgspec.Struct):
    object: str | None = None
    type: str | None = None
    code: str | None = None
    message: str | None = None
    request: str | None = None


_REQUEST_ID_HEADERS = ("charge-request-id", "request-id", "x-request-id")
_REQUEST_ID = re.compile(r"req_[A-Za-z0-9]{1,64}")
_decode_error = msgspec.json.Decoder(_ErrorObject).decode


def decode(body: bytes, kind: Kind[Object]) -> Object:
    """Return the object in a successful reply. Raises errors.Unreachable if it is not as the reference says."""
    try:
        found = kind.object.decode(body)
    except UNREADABLE as error:
        raise unreadable("lacks a field, or has one of another type" if _is_json(error) else "is not JSON") from None
    require_version([found])
    return found


def unreadable(reason: str = "is not a page of a list") -> Unreachable:
    """Return the error for a reply that cannot be read."""
    return Unreachable(f"the reply {reason}", code="answer_unreadable")


def require_version(objects: Iterable[DriverObject | FleetObject]) -> None:
    """Raise errors.OtherVersion if the objects are of an edition of the API in which `created` is a number."""
    created = [each.created for each in objects]
    if created and all(isinstance(each, int) for each in created):
        raise other_version()


def other_version() -> OtherVersion:
    """Return the error for a reply in the format of another version of the API."""
    return OtherVersion("the reply has the format of another version of the API: Charge-Version had no effect")


def _is_json(error: Exception) -> bool:
    return isinstance(error, msgspec.ValidationError)


def _without_key(text: str | None) -> str:
    """Return a name without anything that looks like a secret key: names go to the journal and to people."""
    return redact(text) if text and KEY_PREFIX in text else text or ""


def request_id(headers: Mapping[str, str], body: str | None = None) -> str | None:
    """Return the id that Charge's support needs to find the request, from the error object or a header."""
    for candidate in itertools.chain((body,), map(headers.get, _REQUEST_ID_HEADERS)):
        if candidate and _REQUEST_ID.fullmatch(candidate):
            return candidate
    return None


def failure(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime.datetime) -> ChargeError:
    """Return the error for a reply other than 2xx, whether or not its body is Charge's error object.

    An error about an idempotency key means that Charge is still processing the write: no other write has that key.
    """
    described = _error_object(body)
    message = f"{status}: {_line(described.message, 300)}" if described.message else f"{status} without an explanation"
    code, request = _line(described.code or described.type or "", 64), request_id(headers, described.request)
    if status == 401:
        return KeyRejected(message, code=_line(described.code or "", 64), status=status, request_id=request)
    if status == 429:
        pause = pause_headers.requested_pause(headers, now=now)
        return RateLimited(message, retry_after=pause, code=code, request_id=request)
    if 300 <= status < 400:
        return ForeignOrigin(f"{status}: a redirect was not followed", status=status)
    kind = StillProcessing if code.startswith("idempotency") else _kind(status)
    return kind(message, status=status, code=code, request_id=request)


def _text(entry: Any) -> str:
    """Return an entry of metadata that is not a string as text: as JSON."""
    return msgspec.json.encode(entry).decode()


_GATEWAY = {408: Unreachable, 425: Unreachable, 499: Unreachable}
"""Statuses of a gateway that did not wait for Charge: whether a write took effect is unknown."""


def _kind(status: int) -> type[ChargeError]:
    if kind := {404: NotFound, 409: Conflict, **_GATEWAY}.get(status):
        return kind
    return RequestRefused if 400 <= status < 500 else ServerFault


def _error_object(body: bytes) -> _ErrorObject:
    """Return Charge's error object, or an empty one, for example for a gateway's HTML page."""
    try:
        return _decode_error(body)
    except UNREADABLE:
        return _ErrorObject()


def _line(text: str, longest: int) -> str:
    """Return text as one printable line, without a key that the server may have quoted."""
    return "".join(letter if letter.isprintable() else " " for letter in redact(text)[:longest])
