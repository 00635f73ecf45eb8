"""Provides what every format needs: decoded text, positions in it, and plain data that remembers them.

Invariant: a `Document` contains only dictionaries, lists, text, `None` and what items of lists were packed into, and
knows where each part of it is in the text (settings files also keep TOML's other types). Neighbours: each module in
`formats` parses one format into a `Document`; `membership_document` interprets it.
"""

import bisect
import codecs
import dataclasses
import operator
import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

MAX_BYTES = 64 * 1024 * 1024
"""The size of the largest document that is read."""

MAX_DEPTH = 20
"""How deep a document may be nested. A membership document needs five levels, a settings file three."""

Path = tuple[str | int, ...]
"""The way to a value in the data: keys and indexes from the root."""

Mark: TypeAlias = "int | array[int] | tuple[int, array[int] | list[Mark] | dict[str, tuple[int, Mark]]]"
"""The offset where a value starts; for a list or mapping also the marks of its items or entries.

Marks are nested like the data: a flat table of paths would take longer to build than the parsing. Those of a mapping
without a list or mapping in it are packed, because a document may have one for each row: its own offset, then those of
each key and value, in the order of the data. Those of a list may be packed if it contains only text.
"""

Pack: TypeAlias = "Callable[[Sequence[object], Sequence[Mark], Lines], object | None]"
"""Returns what takes the place of some items of a list, given with their marks; None if the items stay as they are."""

Place = tuple[int, int]
"""A line and a column, both counted from 1, in characters."""


def line_and_column(place: Place) -> str:
    """Return a place as editors and compilers write it."""
    return f"{place[0]}:{place[1]}"


_TOGETHER = 500
"""How many items of a list are packed at once."""

TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels (five are enough): check that every bracket is closed"

_LINE_BREAK = re.compile(r"\r\n?|\n")
_LF = re.compile(r"\n")
LONE_CR = re.compile(r"\r(?=[^\r\n])")
"""A line end that editors do not show as one if the text also has others."""
_BOM = "\ufeff"
_ABOVE_ASCII = bytes(range(128, 256))
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


INVALID = "source_invalid"
"""The error code of a document that is not what it should be."""

EMPTY = "the document is empty: a source must name at least one fleet"


class Malformed(Exception):
    """The text is invalid at one place, and nothing after it can be read."""

    def __init__(self, place: Place, message: str, *, code: str = INVALID) -> None:
        """Keep the place, the message for the operator, and the error code."""
        super().__init__(message)
        self.place = place
        self.message = message
        self.code = code


class Lines:
    """Converts offsets to lines and columns."""

    def __init__(self, text: str) -> None:
        """Find the start of each line; lines may end in LF, CRLF or CR."""
        breaks = _LINE_BREAK if "\r" in text else _LF  # a search for one character is many times as fast
        self._starts = array("I", (0, *(match.end() for match in breaks.finditer(text))))

    def at(self, offset: int) -> Place:
        """Return the place of an offset."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def each(self, offsets: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Return the lines and the columns of ascending offsets.

        Quick if they are all in one line, or one in each line: nearly every list is written in one of the two ways.
        """
        starts = self._starts
        first, last = (bisect.bisect_right(starts, offset) for offset in (offsets[0], offsets[-1]))
        lines: Sequence[int] = range(first, last + 1)
        begins: Sequence[int] = starts[first - 1 : last]
        if first == last:
            lines, begins = [first] * len(offsets), [begins[0]] * len(offsets)
        elif len(begins) != len(offsets) or not _alternate(begins, offsets):
            lines = [bisect.bisect_right(starts, offset) for offset in offsets]
            begins = [starts[line - 1] for line in lines]
        return lines, [offset - begin + 1 for offset, begin in zip(offsets, begins, strict=True)]


def _alternate(begins: Sequence[int], offsets: Sequence[int]) -> bool:
    """Return whether each offset is in the line that begins at the same index."""
    return all(map(operator.le, begins, offsets)) and all(map(operator.lt, offsets, begins[1:]))


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """Plain data and the places of its parts.

    `faults` are mistakes, each with its offset, after which the parser could continue.
    """

    data: object
    lines: Lines
    marks: Mark
    faults: Sequence[tuple[int, str]] = ()

    def at(self, path: Path) -> Place:
        """Return the place of a value. If the value is missing, return the place of what encloses it."""
        return self.lines.at(self._find(path)[1])

    def key_at(self, path: Path) -> Place:
        """Return the place of the last key in a path, or of its value if it has no key (in a list)."""
        return self.lines.at(self._find(path)[0])

    def entry_at(self, mark: Mark, data: Mapping[str, object], key: str) -> Place:
        """Return the place of the value of a key, from the marks and the data of its mapping."""
        if isinstance(mark, array):
            return self.lines.at(mark[2 * list(data).index(key) + 2])
        assert isinstance(mark, tuple) and isinstance(mark[1], dict)  # noqa: S101 - the data has a mapping there
        return self.lines.at(_start(mark[1][key][1]))

    def items_at(self, path: Path) -> Sequence[Mark]:
        """Return the marks of the items of a list."""
        mark = self._walk(path)[2]
        assert isinstance(mark, tuple) and not isinstance(mark[1], dict)  # noqa: S101 - the data has a list there
        return mark[1]

    def _find(self, path: Path) -> tuple[int, int]:
        return self._walk(path)[:2]

    def _walk(self, path: Path) -> tuple[int, int, Mark]:
        """Return the offsets of the last key in a path and of its value, and the marks of the value."""
        mark, data = self.marks, self.data
        key = value = _start(mark)
        for step in path:
            if isinstance(mark, int):
                break
            if isinstance(mark, array):
                keys = list(data) if isinstance(data, dict) else []
                if step not in keys:
                    break
                key, value = mark[2 * keys.index(step) + 1 :][:2]
                return key, value, value
            inside = mark[1]
            if not isinstance(inside, dict) and isinstance(step, int) and step < len(inside):
                mark = inside[step]
                key = _start(mark)
            elif isinstance(inside, dict) and isinstance(step, str) and step in inside:
                key, mark = inside[step]
            else:
                break
            value = _start(mark)
            data = data[step] if isinstance(data, dict | list) else None  # type: ignore[index]
        return key, value, mark


def _start(mark: Mark) -> int:
    return mark if isinstance(mark, int) else mark[0]


def pack(start: int, entries: Mapping[str, tuple[int, Mark]]) -> Mark:
    """Return the marks of a mapping, packed if it contains neither a list nor a mapping."""
    flat = array("I", (start,))
    for where, mark in entries.values():
        if not isinstance(mark, int):
            return start, dict(entries)
        flat.append(where)
        flat.append(mark)
    return flat


def keep(items: Sequence[object], marks: Sequence[Mark], lines: Lines) -> None:
    """Implement `Pack`: all items stay as they are."""


class Items:
    """Collects the items of a list while it is parsed, and packs them, some at a time."""

    def __init__(self, lines: Lines, pack: Pack) -> None:
        """Begin a list."""
        self._lines = lines
        self._pack = pack
        self._items: list[object] = []
        self._marks: list[Mark] = []
        self._packed = 0

    def add(self, item: object, mark: Mark) -> None:
        """Add an item."""
        self._items.append(item)
        self._marks.append(mark)
        if len(self._items) == self._packed + _TOGETHER:
            self._pack_new()

    def all(self) -> tuple[list[object], list[Mark]]:
        """End the list; return what it consists of, with the marks."""
        self._pack_new()
        return self._items, self._marks

    def _pack_new(self) -> None:
        items, marks = self._items[self._packed :], self._marks[self._packed :]
        if items and (packed := self._pack(items, marks, self._lines)) is not None:
            self._items[self._packed :], self._marks[self._packed :] = [packed], marks[:1]
        self._packed = len(self._items)


SPLIT = "split it into several documents in a folder"


def check_size(data: bytes, advice: str = SPLIT) -> None:
    """Raise Malformed if a document is larger than `MAX_BYTES`."""
    if len(data) > MAX_BYTES:
        raise Malformed((1, 1), f"larger than {MAX_BYTES >> 20} MiB: {advice}", code="source_too_large")


def decode(
    data: bytes,
    *,
    encoding: str = "auto",
    advice: str = "save the document as UTF-8",
    too_large: str = SPLIT,
) -> str:
    """Decode a document and drop its byte order mark. "auto" is UTF-8, or UTF-16 with a byte order mark.

    Raises Malformed. `advice` is for other encodings, `too_large` for documents larger than `MAX_BYTES`.
    """
    check_size(data, too_large)
    if encoding == "auto":
        encoding = "UTF-16" if data.startswith(_UTF16_BOMS) else "UTF-8"
    if is_mistaken_utf8(data, encoding):
        raise Malformed((1, 1), f"the document is UTF-8, but encoding is {encoding}: correct encoding")
    try:
        text = data.decode(encoding).removeprefix(_BOM)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, errors="replace").removeprefix(_BOM)
        place = Lines(before).at(len(before))
        raise Malformed(place, f"byte 0x{data[error.start]:02x} is not {encoding}: {advice}") from None
    if "\0" in text:
        raise Malformed(Lines(text).at(text.index("\0")), "a NUL character: remove it, and save the text as UTF-8")
    return text


def is_mistaken_utf8(data: bytes, encoding: str) -> bool:
    """Return whether bytes are UTF-8 although another encoding is set, which would garble every name.

    A UTF-8 byte order mark shows it. Without one, only encodings with one byte for each character can be excluded: text
    in these is hardly ever valid UTF-8.
    """
    if codecs.lookup(encoding).name.startswith("utf-8"):
        return False
    if data.startswith(codecs.BOM_UTF8):
        return True
    if data.isascii() or len(_ABOVE_ASCII.decode(encoding, errors="replace")) != len(_ABOVE_ASCII):
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" if one of the known words is similar, or an empty text."""
    import difflib  # imported late: only a mistake needs it

    folded = {name.casefold(): name for name in known}
    similar = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return f'; did you mean "{folded[similar[0]]}"?' if similar else ""


def quote(text: str) -> str:
    """Quote a text of the document for a message, shortened if it is long."""
    return f'"{text if len(text) <= 60 else f"{text[:57]}…"}"'


def duplicate_key(key: str, first: Place) -> str:
    """Return the message for a key that a mapping contains twice."""
    return f"duplicate key {quote(key)}, first used in line {first[0]}: keep one of them, with all of its content"
