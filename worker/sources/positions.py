"""What every format shares: text out of bytes, places in it, and the plain data that a parser gives.

Invariant: a `Document` is nothing but dictionaries, lists, text and `None`, with the place of every part of it (the
settings alone read TOML's other types too). Neighbours: one `…_document` module for each format makes documents;
`documents` gives them their meaning.
"""

import bisect
import codecs
import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

LIMIT = 64 * 1024 * 1024
"""The largest document that is read, in bytes."""

DEPTH = 20
"""How deep a document may nest. A membership document needs five levels, a settings file three."""

Path = tuple[str | int, ...]
"""Where in the data: keys and indexes from the root on."""

Mark: TypeAlias = "int | tuple[int, list[Mark] | dict[str, tuple[int, Mark]]]"
"""Where a value starts, as an offset; of a list also the marks of its items, of a mapping those of its entries.

Marks are nested as the data is: a table of paths would cost more time than the parsing.
"""

Place = tuple[int, int]
"""Where in the text: line and column, both from 1, in characters."""

TOO_DEEP = f"nested deeper than {DEPTH} levels, and five are enough: see that every bracket is closed"

_BREAK = re.compile(r"\r\n?|\n")
_FOREIGN = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


class Malformed(Exception):
    """The text cannot be read as what it should be, from one place on."""

    def __init__(self, place: Place, message: str) -> None:
        """Keep the place and the words for the operator."""
        super().__init__(message)
        self.place = place
        self.message = message


class Lines:
    """Turns offsets into lines and columns."""

    def __init__(self, text: str) -> None:
        """Find where each line starts, whichever line ends the text uses."""
        self._starts = [0, *(found.end() for found in _BREAK.finditer(text))]

    def at(self, offset: int) -> Place:
        """Give the place of an offset."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """Plain data and where its parts stand.

    `faults` are mistakes, with their offsets, that did not keep the parser from reading on.
    """

    data: object
    lines: Lines
    marks: Mark
    faults: Sequence[tuple[int, str]] = ()

    def at(self, path: Path) -> Place:
        """Give the place of a value, or of the nearest thing around it where it is missing."""
        return self.lines.at(self._find(path)[1])

    def key_at(self, path: Path) -> Place:
        """Give the place of the key that a path ends in, or of its value where it has no key."""
        return self.lines.at(self._find(path)[0])

    def _find(self, path: Path) -> tuple[int, int]:
        mark = self.marks
        key = value = mark if isinstance(mark, int) else mark[0]
        for step in path:
            inside = None if isinstance(mark, int) else mark[1]
            if isinstance(inside, list) and isinstance(step, int) and step < len(inside):
                mark = inside[step]
                key = value = mark if isinstance(mark, int) else mark[0]
            elif isinstance(inside, dict) and isinstance(step, str) and step in inside:
                key, mark = inside[step]
                value = mark if isinstance(mark, int) else mark[0]
            else:
                break
        return key, value


def decode(data: bytes, *, too_large: str = "split it into several documents in a folder") -> str:
    """Read bytes as UTF-8 text without its byte order mark; `too_large` is the advice for more than may be read.

    Raises Malformed where that cannot be.
    """
    if len(data) > LIMIT:
        raise Malformed((1, 1), f"larger than {LIMIT >> 20} MiB: {too_large}")
    if data.startswith(_FOREIGN):
        raise Malformed((1, 1), "this is UTF-16 or UTF-32 text: save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        place = Lines(before).at(len(before))
        raise Malformed(place, f"byte 0x{data[error.start]:02x} is not UTF-8: save the document as UTF-8") from None
    if "\0" in text:
        raise Malformed(Lines(text).at(text.index("\0")), "a NUL character: remove it, and save as UTF-8 text")
    return text


def near(word: str, known: Iterable[str]) -> str:
    """Write a question after the one of the known words that was probably meant, or nothing."""
    import difflib  # only a mistake needs it

    folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return f'; did you mean "{folded[found[0]]}"?' if found else ""


def shown(text: str) -> str:
    """Quote a text of the document for a message, shortened where it is long."""
    return f'"{text if len(text) <= 60 else f"{text[:57]}…"}"'


def twice(key: str, first: Place) -> str:
    """Say that a key stands in a mapping for the second time."""
    return f"{shown(key)} stands in line {first[0]} already: keep one of them, with everything that belongs to it"
