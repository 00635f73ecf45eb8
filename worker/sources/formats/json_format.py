"""Parses JSON into plain data in which every scalar is text, with the place of every part.

Invariant: numbers, `true` and `false` stay the text that was written, so no id is rounded. Whatever RFC 8259 does not
allow is refused. Neighbours: `positions` defines the result, `membership_document` interprets it.
"""

import itertools
import json
import re
from array import array
from collections.abc import Callable
from json import decoder

from worker.sources import positions

_WHITESPACE = re.compile(r"[ \t\n\r]*")
_LITERAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z_.+-])|(?:true|false|null)\b")
_TEXT_ENTRY = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*"([^"\\\x00-\x1f]*)"')
"""A key and a text, both without escapes: the usual entry of an object."""

_TWO_TEXTS = re.compile(r'[ \t\n\r]*"([^"\\]*)("[ \t\n\r]*,[ \t\n\r]*")')
"""The beginning of a list that can be read at once: the first text, and the separator that follows it."""

_scan: Callable[[str, int, bool], tuple[str, int]] = decoder.scanstring  # type: ignore[attr-defined]
"""The standard library's string parser: returns the text and the offset after its closing quotation mark."""


def parse(text: str, *, pack: positions.Pack = positions.keep) -> positions.Document:
    """Parse one document. `pack` may replace items of its lists. Raises Malformed."""
    return _Parser(text, pack).document()


class _Parser:
    """A recursive descent parser with bounded depth; `self._at` is the offset of the next character."""

    def __init__(self, text: str, pack: positions.Pack) -> None:
        self._text = text
        self._pack = pack
        self._at = 0
        self._depth = 0
        self._lines = positions.Lines(text)
        self._faults: list[tuple[int, str]] = []
        self._keys: dict[str, str] = {}

    def document(self) -> positions.Document:
        self._skip_whitespace()
        data, mark = self._value()
        if self._skip_whitespace():
            raise self._malformed("text after the end of the document: remove it, or correct the brackets")
        return positions.Document(data, self._lines, mark, self._faults)

    def _value(self) -> tuple[object, positions.Mark]:
        start = self._at
        first = self._text[start : start + 1]
        if first == '"':
            return self._string(), start
        if first and first in "[{":
            if self._depth == positions.MAX_DEPTH:
                raise self._malformed(positions.TOO_DEEP)
            self._depth += 1
            self._at += 1
            data, mark = self._list(start) if first == "[" else self._object(start)
            self._depth -= 1
            return data, mark
        found = _LITERAL.match(self._text, start)
        if not found:
            raise self._malformed('expected a value: write text in "quotation marks", a list or an object')
        self._at = found.end()
        return None if found[0] == "null" else found[0], start

    def _list(self, start: int) -> tuple[list[object], positions.Mark]:
        if texts := self._list_of_texts():
            return texts[0], (start, texts[1])
        items = positions.Items(self._lines, self._pack)
        ended = self._is_empty("]")
        while not ended:
            items.add(*self._value())
            ended = self._end_of_item("]")
        data, marks = items.all()
        return data, (start, marks)

    def _list_of_texts(self) -> "tuple[list[object], array[int]] | None":
        """Read a whole list at once if it consists of texts without escapes, all separated by the same characters.

        Returns the texts with their offsets, or None for any other list. All quotation marks but the last belong to
        separators, so no text contains one, and the bracket that was found is not inside a text.
        """
        found, end = _TWO_TEXTS.match(self._text, self._at), self._text.find("]", self._at)
        if not found or end < 0:
            return None
        written, between = self._text[found.start(1) : end].rstrip(" \t\r\n"), found[2]
        texts = written[:-1].split(between)
        if written[-1:] != '"' or written.count('"') != 2 * len(texts) - 1 or "\\" in written:
            return None
        if not all(map(str.isprintable, texts)):
            return None
        steps = map(len(between).__add__, map(len, texts))
        marks = array("I", itertools.accumulate(steps, initial=found.start(1) - 1))
        marks.pop()  # where one more text would be
        self._at = end + 1
        return [*texts], marks

    def _object(self, start: int) -> tuple[dict[str, object], positions.Mark]:
        entries: dict[str, object] = {}
        marks: dict[str, tuple[int, positions.Mark]] = {}
        value: object
        mark: positions.Mark
        ended = self._is_empty("}")
        while not ended:
            where = self._at
            if usual := _TEXT_ENTRY.match(self._text, where):
                key, value, mark = self._shared(usual[1]), usual[2], usual.start(2) - 1
                self._at = usual.end(2) + 1
            else:
                key = self._key()
                value, mark = self._value()
            if key in entries:
                self._faults.append((where, positions.duplicate_key(key, self._lines.at(marks[key][0]))))
            else:
                entries[key] = value
                marks[key] = where, mark
            ended = self._end_of_item("}")
        return entries, positions.pack(start, marks)

    def _key(self) -> str:
        if self._text[self._at : self._at + 1] != '"':
            raise self._malformed('expected a key: write it in "quotation marks", and no comma before a }')
        key = self._shared(self._string())
        if self._skip_whitespace() != ":":
            raise self._malformed("expected a colon between a key and its value")
        self._at += 1
        self._skip_whitespace()
        return key

    def _shared(self, key: str) -> str:
        """Return one object for all equal keys, which would otherwise take memory in every row."""
        return self._keys.setdefault(key, key)

    def _string(self) -> str:
        try:
            text, self._at = _scan(self._text, self._at + 1, True)
        except json.JSONDecodeError as error:
            self._at = error.pos
            raise self._malformed(_advice(error.msg)) from None
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise self._malformed(
                "half of a surrogate pair (\\ud800 to \\udfff): write both halves, or the character itself"
            )
        return text

    def _is_empty(self, closing: str) -> bool:
        """Skip the closing bracket if it directly follows the opening one; return whether it does."""
        if self._skip_whitespace() != closing:
            return False
        self._at += 1
        return True

    def _end_of_item(self, closing: str) -> bool:
        """Skip the comma or closing bracket after an item; return whether it was the bracket."""
        found = self._skip_whitespace()
        if not found:
            raise self._malformed(f"expected {closing}: was the document cut off?")
        if found not in (",", closing):
            raise self._malformed(f"expected a comma or {closing}")
        self._at += 1
        self._skip_whitespace()
        return found == closing

    def _skip_whitespace(self) -> str:
        """Skip white space; return the next character, or an empty text at the end."""
        first = self._text[self._at : self._at + 1]
        if first and first in " \t\r\n" and (found := _WHITESPACE.match(self._text, self._at)):
            self._at = found.end()
            first = self._text[self._at : self._at + 1]
        return first

    def _malformed(self, message: str) -> positions.Malformed:
        return positions.Malformed(self._lines.at(self._at), message)


def _advice(problem: str) -> str:
    if problem.startswith("Unterminated"):
        return "this text never ends: close its quotation mark; was the document cut off?"
    if "escape" in problem:
        return "invalid escape: write \\\\ for a backslash"
    return "control character in a text: write \\n for a new line and \\t for a tab"
