"""Reads a page of a listing object by object, if it cannot be read as a whole.

Invariants: an object that cannot be read costs its own driver or fleet and no other; no object disappears: it is read,
malformed, or without a valid id. Neighbours: `codec` defines the objects, `client` asks for pages.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

from worker.charge import codec
from worker.core.model.errors import Unreachable

Object = TypeVar("Object", codec.DriverObject, codec.FleetObject)


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[Object]):
    """The objects that can be read, the ids of those that cannot, the number of those without a valid id."""

    objects: Sequence[Object]
    next_page_url: str | None
    malformed: tuple[str, ...] = ()
    unidentified: int = 0


_STRING = rb'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(_STRING + rb"|[\[\]{},]", re.DOTALL)
_MEMBER = re.compile(rb"\s*(" + _STRING + rb")\s*:(.*)", re.DOTALL)
_ID = re.compile(rb'"((?:drv|flt)_[A-Za-z0-9]+)"')


def read(body: bytes, kind: codec.Kind[Object]) -> Page[Object]:
    """Return a page. Raises errors.Unreachable if it is not a page, or one of another version of the API."""
    try:
        page = kind.page.decode(body)
    except codec.UNREADABLE:
        return _read_each(body, kind)
    codec.require_version(page.data or ())
    return Page(page.data or (), page.next_page_url)


def _read_each(body: bytes, kind: codec.Kind[Object]) -> Page[Object]:
    members = _members(body)
    if b'"has_more"' in members and b'"next_page_url"' not in members:
        raise codec.other_version()
    data, following = members.get(b'"data"', b""), members.get(b'"next_page_url"', b"")
    try:
        next_page_url = msgspec.json.decode(following, type=str | None)
    except codec.UNREADABLE:
        raise codec.unreadable() from None
    if data != b"null" and not data.startswith(b"["):
        raise codec.unreadable()
    objects: list[Object] = []
    malformed: list[str] = []
    unidentified = 0
    for item in _elements(data) if data != b"null" else ():
        try:
            objects.append(kind.object.decode(item))
        except codec.UNREADABLE:
            if identity := _identity(item, kind.prefix):
                malformed.append(identity)
            else:
                unidentified += 1
    codec.require_version(objects)
    return Page(objects, next_page_url, tuple(malformed), unidentified)


def _identity(item: bytes, prefix: str) -> str | None:
    """Return the id of an object that cannot be read otherwise, or None."""
    if not item.startswith(b"{"):
        return None
    try:
        found = _ID.fullmatch(_members(item).get(b'"id"', b""))
    except Unreachable:
        return None
    identity = found[1].decode("ascii") if found else ""
    return identity if identity.startswith(prefix) else None


def _members(text: bytes) -> dict[bytes, bytes]:
    """Return the members of a JSON object, keys and values as they are written."""
    found = (_MEMBER.fullmatch(element) for element in _elements(text))
    return {member[1]: member[2].strip() for member in found if member}


def _elements(text: bytes) -> Iterator[bytes]:
    """Yield what the commas of a JSON array or object separate, without looking into it.

    Works on brackets and strings only, because a parser gives up at the first character that is wrong. Raises
    errors.Unreachable if brackets are missing.
    """
    depth = start = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                start = token.end() if depth == 1 else start
            case b"]" | b"}":
                depth -= 1
                if depth == 0:
                    if last := text[start : token.start()].strip():
                        yield last
                    if text[token.end() :].strip():
                        break
                    return
            case b"," if depth == 1:
                yield text[start : token.start()].strip()
                start = token.end()
    raise codec.unreadable()
