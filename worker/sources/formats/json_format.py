"""Reads JSON as plain data in which every scalar is text, with the place of every part.

Invariant: numbers, `true` and `false` keep the text they are written in, so that no id is rounded; everything that
RFC 8259 does not allow is refused. Neighbours: `syntax` has the values, `documents` the meaning.
"""

import json
import re
from collections.abc import Callable
from json import decoder

from worker.sources import positions

_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z_.+-])|(?:true|false|null)\b")

_scan: Callable[[str, int, bool], tuple[str, int]] = decoder.scanstring  # type: ignore[attr-defined]
"""The standard library's reader of one string; it gives the text and the offset behind its closing mark."""


def parse(text: str) -> positions.Document:
    """Read one JSON document. Raises Malformed."""
    return _Parser(text).document()


class _Parser:
    """A recursive descent whose depth is bounded; `self._at` is the offset of what comes next."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._lines = positions.Lines(text)
        self._faults: list[tuple[int, str]] = []

    def document(self) -> positions.Document:
        self._peek()
        data, mark = self._value()
        if self._peek():
            raise self._refused("something follows the end of the document: remove it, or correct the brackets")
        return positions.Document(data, self._lines, mark, self._faults)

    def _value(self) -> tuple[object, positions.Mark]:
        start = self._at
        first = self._text[start : start + 1]
        if first == '"':
            return self._string(), start
        if first and first in "[{":
            if self._depth == positions.DEPTH:
                raise self._refused(positions.TOO_DEEP)
            self._depth += 1
            self._at += 1
            data, mark = self._list(start) if first == "[" else self._object(start)
            self._depth -= 1
            return data, mark
        found = _PLAIN.match(self._text, start)
        if not found:
            raise self._refused('a value is missing here: write text in "quotation marks", a list or an object')
        self._at = found.end()
        return None if found[0] == "null" else found[0], start

    def _list(self, start: int) -> tuple[list[object], positions.Mark]:
        items: list[object] = []
        marks: list[positions.Mark] = []
        ended = self._empty("]")
        while not ended:
            item, mark = self._value()
            items.append(item)
            marks.append(mark)
            ended = self._ends("]")
        return items, (start, marks)

    def _object(self, start: int) -> tuple[dict[str, object], positions.Mark]:
        entries: dict[str, object] = {}
        marks: dict[str, tuple[int, positions.Mark]] = {}
        ended = self._empty("}")
        while not ended:
            where = self._at
            key = self._key()
            value, mark = self._value()
            if key in entries:
                self._faults.append((where, positions.twice(key, self._lines.at(marks[key][0]))))
            else:
                entries[key] = value
                marks[key] = where, mark
            ended = self._ends("}")
        return entries, (start, marks)

    def _key(self) -> str:
        if self._text[self._at : self._at + 1] != '"':
            raise self._refused('a key is missing here: write it in "quotation marks", and no comma before a }')
        key = self._string()
        if self._peek() != ":":
            raise self._refused("a colon is missing here, between a key and its value")
        self._at += 1
        self._peek()
        return key

    def _string(self) -> str:
        try:
            text, self._at = _scan(self._text, self._at + 1, True)
        except json.JSONDecodeError as error:
            self._at = error.pos
            raise self._refused(_advice(error.msg)) from None
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise self._refused("half of a surrogate pair (\\ud800 to \\udfff): write both halves, or the character")
        return text

    def _empty(self, closing: str) -> bool:
        """Tell whether the closing bracket follows the opening one at once, and step over it."""
        if self._peek() != closing:
            return False
        self._at += 1
        return True

    def _ends(self, closing: str) -> bool:
        """Step over what follows an item: the closing bracket, or a comma and the space after it."""
        found = self._peek()
        if not found:
            raise self._refused(f"{closing} is missing: was the document cut off?")
        if found not in (",", closing):
            raise self._refused(f"a comma or {closing} is missing here")
        self._at += 1
        self._peek()
        return found == closing

    def _peek(self) -> str:
        """Step over space; give the character that follows."""
        first = self._text[self._at : self._at + 1]
        if first and first in " \t\r\n" and (found := _SPACE.match(self._text, self._at)):
            self._at = found.end()
            first = self._text[self._at : self._at + 1]
        return first

    def _refused(self, message: str) -> positions.Malformed:
        return positions.Malformed(self._lines.at(self._at), message)


def _advice(problem: str) -> str:
    if problem.startswith("Unterminated"):
        return "a text that starts here never ends: close its quotation mark; was the document cut off?"
    if "escape" in problem:
        return "a backslash too many: write \\\\ for a backslash"
    return "a control character in a text: write \\n for a new line and \\t for a tab"
