"""Gives bytes meaning: JSON to values, statuses to the error tree.

Invariant: what does not have the documented shape is an error, never an empty value: a driver without `fleets` is
unreadable, not a driver in no fleet. Facts are from Charge's API reference (drivers, fleets, pagination, errors).
Neighbours: `http` delivers the bytes, `client` asks for a meaning.
"""

import datetime
import email.utils
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from worker.core.model.actual import Driver, Fleet
from worker.core.model.errors import (
    ChargeError,
    Conflict,
    ForeignOrigin,
    KeyRejected,
    NotFound,
    RateLimited,
    RequestRefused,
    ServerFault,
    StillProcessing,
    Unreachable,
)
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.secret import redact

_DriverId = Annotated[str, msgspec.Meta(pattern=r"^drv_[A-Za-z0-9]+\Z")]
_FleetId = Annotated[str, msgspec.Meta(pattern=r"^flt_[A-Za-z0-9]+\Z")]


class DriverObject(msgspec.Struct):
    """The fields of a driver that matter here. A list may be null where it is empty; it may not be missing."""

    id: _DriverId
    fleets: list[str] | None
    email: str | None = None
    name: str | None = None
    metadata: dict[str, Any] | None = None

    def value(self) -> Driver:
        """Give the driver as a value."""
        return Driver(
            id=DriverId(self.id),
            fleets=frozenset(map(FleetId, self.fleets or ())),
            email=self.email or "",
            name=self.name or "",
            metadata={key: _text(entry) for key, entry in (self.metadata or {}).items() if entry is not None},
        )


class FleetObject(msgspec.Struct):
    """The fields of a fleet that matter here."""

    id: _FleetId
    name: str | None = None
    status: str | None = None
    total_drivers: int | None = None

    def value(self) -> Fleet:
        """Give the fleet as a value."""
        return Fleet(FleetId(self.id), self.name or "", self.status or "", self.total_drivers)


class DriverList(msgspec.Struct):
    """A page of drivers."""

    data: list[DriverObject] | None
    next_page_url: str | None


class FleetList(msgspec.Struct):
    """A page of fleets."""

    data: list[FleetObject] | None
    next_page_url: str | None


DRIVER = msgspec.json.Decoder(DriverObject, float_hook=msgspec.Raw)
FLEET = msgspec.json.Decoder(FleetObject)
DRIVERS = msgspec.json.Decoder(DriverList, float_hook=msgspec.Raw)
FLEETS = msgspec.json.Decoder(FleetList)
"""What reads each answer. Numbers of metadata stay as they are written: 1e5 is no 100000.0."""


class _ErrorObject(msgspec.Struct):
    object: str | None = None
    type: str | None = None
    code: str | None = None
    message: str | None = None
    request: str | None = None


Shape = TypeVar("Shape", DriverObject, FleetObject, DriverList, FleetList)

_REQUEST_ID_HEADERS = ("charge-request-id", "request-id", "x-request-id")
_REQUEST_ID = re.compile(r"req_[A-Za-z0-9]{1,64}")
_decode_error = msgspec.json.Decoder(_ErrorObject).decode


def decode(body: bytes, decoder: msgspec.json.Decoder[Shape]) -> Shape:
    """Read a successful answer's body. Raises errors.Unreachable where it is not what the reference says."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        kind = "lacks what it should hold" if isinstance(error, msgspec.ValidationError) else "is no JSON"
        raise Unreachable(f"the answer {kind}", code="answer_unreadable") from None


def request_id(headers: Mapping[str, str], body: str | None = None) -> str | None:
    """Give the id under which Charge's support finds the request, from the error object or a header."""
    for candidate in (body, *(headers.get(name) for name in _REQUEST_ID_HEADERS)):
        if candidate and _REQUEST_ID.fullmatch(candidate):
            return candidate
    return None


def failure(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime.datetime) -> ChargeError:
    """Give the error that an answer other than 2xx stands for, whether or not its body is Charge's error object.

    A complaint about an idempotency key, of which each belongs to one write, means that the write is still under way.
    """
    shown = _error_object(body)
    message = f"{status}: {_line(shown.message, 300)}" if shown.message else f"{status} without an explanation"
    code, request = _line(shown.code or shown.type or "", 64), request_id(headers, shown.request)
    if status == 401:
        return KeyRejected(message, code=_line(shown.code or "", 64), status=status, request_id=request)
    if status == 429:
        pause = retry_after(headers, now=now)
        return RateLimited(message, retry_after=pause, code=code, request_id=request)
    if 300 <= status < 400:
        return ForeignOrigin(f"{status}: a redirect was not followed", status=status)
    kind = StillProcessing if code.startswith("idempotency") else _kind(status)
    return kind(message, status=status, code=code, request_id=request)


def retry_after(headers: Mapping[str, str], *, now: datetime.datetime) -> float | None:
    """Give the seconds that `Retry-After` asks for: a number, or a date against the answer's own `Date` or `now`."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    if (until := _http_date(text)) is None:
        return None
    return max(0.0, (until - (_http_date(headers.get("date", "")) or now)).total_seconds())


def _text(entry: Any) -> str:
    """Give an entry of metadata as text: a text as it is, anything else as JSON writes it."""
    return entry if isinstance(entry, str) else msgspec.json.encode(entry).decode()


_GATEWAY = {408: Unreachable, 425: Unreachable, 499: Unreachable}
"""What a gateway answers that did not wait for Charge: whether a write took effect is unknown."""


def _kind(status: int) -> type[ChargeError]:
    if kind := {404: NotFound, 409: Conflict, **_GATEWAY}.get(status):
        return kind
    return RequestRefused if 400 <= status < 500 else ServerFault


def _error_object(body: bytes) -> _ErrorObject:
    """Read Charge's error object; a gateway's page of HTML explains nothing."""
    try:
        return _decode_error(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _ErrorObject()


def _line(text: str, longest: int) -> str:
    """Keep what a log or a terminal can show as one line, without a key that the server may have quoted."""
    return "".join(letter if letter.isprintable() else " " for letter in redact(text)[:longest])


def _http_date(text: str) -> datetime.datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
