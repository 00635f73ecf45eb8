"""Pagination: the objects of a page, the links to its neighbours, and the faults of lists.

Invariant: without a fault, and while nothing changes, following `next_page_url` shows every object exactly once.
Neighbours: `endpoints` chooses the objects and reads the query, `objects` encodes each object, and `quirks` says
whether pages shift.
"""

import base64
import binascii
import bisect
import dataclasses
import urllib.parse
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from worker.sandbox import http_types

FOREIGN: Final = "https://charge-api.example.net/v1"


@dataclasses.dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page starts, or where it ends if `back` is set.

    `position` is an index, or the number of the last object already shown. `checksum` is that of the filters and the
    limit that the cursor belongs to. `nonce` makes otherwise equal cursors differ.
    """

    position: int
    checksum: int
    back: bool = False
    nonce: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """The objects of a page and the addresses of its neighbours."""

    ids: Sequence[str]
    next_page_url: str | None
    previous_page_url: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list under one set of filters. `ids` is sorted, the newest object first."""

    request: http_types.Request
    ids: Sequence[str]
    limit: int
    stable: bool
    number: Callable[[str], int]

    def page(self, cursor: Cursor | None, fault: str | None) -> Page:
        """Return one page of the list, changed by the fault."""
        start, stop = self._span(cursor)
        if start > 0 and fault in ("shift", "repeat"):
            step = 1 if fault == "shift" else -1
            start, stop = start + step, stop + step
        shown = self.ids[start:stop]
        following = self._url(self._after(stop)) if stop < len(self.ids) else None
        previous = self._url(self._before(start)) if start > 0 and self.ids else None
        match fault:
            case "repeat" if start == 0:
                shown = (*shown, *shown[-1:])
            case "cut_short":
                shown, following = shown[: len(shown) // 2], None
            case "loop":
                following = _address(self.request.base, self.request, self.request.query)
            case "foreign":
                following = _address(FOREIGN, self.request, self.request.query)
            case "endless":
                following = self._url(self._repeated(start, cursor))
            case _:
                pass
        return Page(shown, following, previous)

    def checksum(self) -> int:
        """Return the checksum of the filters and the limit."""
        return _checksum(self.request, self.limit)

    def _span(self, cursor: Cursor | None) -> tuple[int, int]:
        if cursor is None:
            return 0, self.limit
        if cursor.back:
            stop = self._index(cursor.position, bisect.bisect_left)
            return max(0, stop - self.limit), stop
        start = self._index(cursor.position, bisect.bisect_right)
        return start, start + self.limit

    def _index(self, position: int, search: Callable[..., int]) -> int:
        if not self.stable:
            return min(position, len(self.ids))
        return search(self.ids, -position, key=lambda id: -self.number(id))

    def _after(self, stop: int) -> Cursor:
        return Cursor(self.number(self.ids[stop - 1]) if self.stable else stop, self.checksum())

    def _before(self, start: int) -> Cursor:
        if not self.stable:
            return Cursor(start, self.checksum(), back=True)
        first = self.number(self.ids[start]) if start < len(self.ids) else -1
        return Cursor(first, self.checksum(), back=True)

    def _repeated(self, start: int, cursor: Cursor | None) -> Cursor:
        nonce = 1 if cursor is None else cursor.nonce + 1
        if not self.stable:
            return Cursor(start, self.checksum(), nonce=nonce)
        first = self.number(self.ids[start]) + 1 if start < len(self.ids) else -1
        return Cursor(first, self.checksum(), nonce=nonce)

    def _url(self, cursor: Cursor) -> str:
        query = {name: text for name, text in self.request.query.items() if name not in ("limit", "page")}
        query |= {"limit": str(self.limit), "page": _token(cursor)}
        return _address(self.request.base, self.request, query)


def cursor(request: http_types.Request, limit: int) -> Cursor | None:
    """Return the cursor in the page token, or None. Raise ValueError if it was not issued for these filters."""
    token = request.query.get("page")
    if token is None:
        return None
    try:
        packed, _, check = base64.urlsafe_b64decode(token.encode()).rpartition(b"~")
        genuine = check == b"%08x" % zlib.crc32(packed)
    except (binascii.Error, UnicodeEncodeError):
        genuine = False
    if not genuine:
        raise ValueError("The page token is invalid.")
    found = msgspec.json.decode(packed, type=Cursor)
    if found.checksum != _checksum(request, limit):
        raise ValueError("The page token belongs to other filters.")
    return found


def _token(cursor: Cursor) -> str:
    packed = msgspec.json.encode(cursor)
    return base64.urlsafe_b64encode(packed + b"~%08x" % zlib.crc32(packed)).decode()


def _checksum(request: http_types.Request, limit: int) -> int:
    filters = sorted((name, text) for name, text in request.query.items() if name not in ("limit", "page"))
    return zlib.crc32(repr((request.route, limit, filters)).encode())


def _address(base: str, request: http_types.Request, query: Mapping[str, str]) -> str:
    encoded = urllib.parse.urlencode(query)
    return f"{base}/{request.route}{'?' if encoded else ''}{encoded}"
