"""Parses TOML, with the place of every part.

Invariant: `tomllib` alone decides what is valid and what it means; a second walk over the same text only finds places
and can therefore trust its input. Neighbours: `positions` defines the result; `membership_document` interprets
documents, `settings.loader` settings files.
"""

import re
import tomllib
from array import array
from typing import Any, TypeAlias, cast

from worker.sources import positions

_WHITESPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_STRING = r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
_TEXT = re.compile(_STRING, re.DOTALL)
_BARE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[^\s,\]}#]+|[^\s,\]}#]+")
_PART = re.compile(rf"[ \t]*([A-Za-z0-9_-]+|{_STRING})[ \t]*")
_SIMPLE = re.compile(r"([A-Za-z0-9_-]+)[ \t]*=[ \t]*")
_NESTING = re.compile(rf"{_STRING}|#[^\n]*|[\[\]{{}}]", re.DOTALL)
_AT = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$")

_ADVICE = {
    "Cannot overwrite a value": "this key already has a value: keep one of them",
    "Cannot declare": "this table is already declared: put all of its keys below one heading",
    "Cannot mutate": "this is already defined, or appears twice: keep one, with all of its keys",
    "Cannot redefine": "this is already defined, or appears twice: keep one, with all of its keys",
    "Duplicate inline table key": "this key appears twice: keep one of them",
    "Expected '='": "a key without a value: write key = value, and enclose other text in quotation marks",
    "Expected newline or end": "text after the value: begin a new line, or enclose all of it in quotation marks",
    "Invalid value": 'expected a value: write text in "quotation marks", a number, true or false, or a list',
    "Invalid statement": "not a key: write key = value, or enclose the key in quotation marks",
    "Invalid initial character": "not a key: use letters, digits, - and _, or enclose the key in quotation marks",
    "Unclosed array": "this list is not closed: write commas between its items, and ] at its end",
    "Unclosed inline table": "this table is not closed: write commas between its entries, and } at its end",
    "Expected \"'": "this text is not closed: write its quotation mark; was the document cut off?",
    "Unterminated string": "this text is not closed: write its quotation mark; was the document cut off?",
    "Unescaped": "invalid escape: write \\\\ for a backslash, or use 'single quotation marks'",
    "Illegal character": "this character is not allowed here: close the text on the same line, or remove it",
    "Invalid date": "not a date or time: write 2026-12-31 or 2026-12-31T08:00:00Z",
}
"""Our message for each beginning of a message of `tomllib`."""

_Table: TypeAlias = dict[str, tuple[int, positions.Mark]]


def parse(text: str, *, texts: bool = False) -> positions.Document:
    """Parse a document. With `texts`, numbers, dates and booleans stay the text that was written. Raises Malformed."""
    lines = positions.Lines(text)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise _too_deep(text, lines) from None
    except ValueError as error:
        raise _malformed(str(error), text, lines) from None
    return positions.Document(data, lines, _Walk(text, lines, texts=texts).document(data))


class _Walk:
    """Walks over a valid document and its data; `self._at` is the offset of the next character."""

    def __init__(self, text: str, lines: positions.Lines, *, texts: bool) -> None:
        self._text = text
        self._lines = lines
        self._texts = texts
        self._at = 0
        self._depth = 0

    def document(self, data: dict[str, Any]) -> positions.Mark:
        root: _Table = {}
        table, inside = data, root
        while first := self._skip_whitespace():
            if first == "[":
                table, inside = self._header(data, root)
            else:
                self._entry(table, inside)
        return 0, root

    def _header(self, data: Any, inside: _Table) -> tuple[Any, _Table]:
        """Read `[a.b]` or `[[a.b]]`. A path through an array leads to its newest table."""
        start = self._at
        array = self._text.startswith("[[", start)
        self._at += 2 if array else 1
        parts = self._parts()
        for index, (part, offset) in enumerate(parts):
            data = data[part]
            _, mark = inside.setdefault(part, (offset, (start, [] if isinstance(data, list) else {})))
            marks = _children(mark)
            if isinstance(marks, list):
                if array and index == len(parts) - 1:
                    marks.append((start, {}))
                data, marks = data[len(marks) - 1], _children(marks[-1])
            assert isinstance(marks, dict)  # noqa: S101 - the document is valid
            inside = marks
        self._at += 2 if array else 1
        return data, inside

    def _entry(self, data: Any, inside: _Table) -> None:
        """Read `a.b = value`."""
        if simple := _SIMPLE.match(self._text, self._at):  # the common case, and much faster than `_parts`
            self._at = simple.end()
            inside[simple[1]] = simple.start(1), self._value(data, simple[1])
            return
        *tables, (last, where) = self._parts()
        for part, offset in tables:
            data = data[part]
            _, mark = inside.setdefault(part, (offset, (offset, {})))
            inside = cast(_Table, _children(mark))
        self._at += 1  # =
        self._skip_whitespace()
        inside[last] = where, self._value(data, last)

    def _value(self, data: Any, key: str | int) -> positions.Mark:
        """Read the value of `data[key]`."""
        start = self._at
        first = self._text[start]
        if first in "[{":
            self._depth += 1
            if self._depth > positions.MAX_DEPTH:
                raise positions.Malformed(self._lines.at(start), positions.TOO_DEEP)
            self._at += 1
            mark = start, self._items(data[key]) if first == "[" else self._entries(data[key])
            self._at += 1
            self._depth -= 1
            return mark
        if first in "\"'":
            self._at = self._end_of(_TEXT)
        else:
            self._at = self._end_of(_BARE)
            if self._texts:
                data[key] = self._text[start : self._at]
        return start

    def _items(self, data: Any) -> list[positions.Mark]:
        marks: list[positions.Mark] = []
        while self._skip_whitespace() != "]":
            marks.append(self._value(data, len(marks)))
            if self._skip_whitespace() == ",":
                self._at += 1
        return marks

    def _entries(self, data: Any) -> _Table:
        inside: _Table = {}
        while self._skip_whitespace() != "}":
            self._entry(data, inside)
            if self._skip_whitespace() == ",":
                self._at += 1
        return inside

    def _parts(self) -> list[tuple[str, int]]:
        """Read a dotted key; return its parts, each with its offset."""
        parts = []
        while found := _PART.match(self._text, self._at):
            parts.append((_unquoted(found[1]), found.start(1)))
            self._at = found.end()
            if self._text[self._at] != ".":
                break
            self._at += 1
        if len(parts) > positions.MAX_DEPTH:
            raise positions.Malformed(self._lines.at(parts[0][1]), positions.TOO_DEEP)
        return parts

    def _skip_whitespace(self) -> str:
        """Skip white space and comments; return the next character, or an empty text at the end."""
        first = self._text[self._at : self._at + 1]
        if first and first in " \t\r\n#":
            self._at = self._end_of(_WHITESPACE)
            first = self._text[self._at : self._at + 1]
        return first

    def _end_of(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self._text, self._at)
        return found.end() if found else self._at


def _children(mark: positions.Mark) -> list[positions.Mark] | _Table:
    return mark[1] if isinstance(mark, tuple) and not isinstance(mark[1], array) else []


def _unquoted(part: str) -> str:
    if part[0] == '"' and "\\" in part:
        return str(tomllib.loads(f"key = {part}")["key"])
    return part[1:-1] if part[0] in "\"'" else part


def _too_deep(text: str, lines: positions.Lines) -> positions.Malformed:
    depth = 0
    for found in _NESTING.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > positions.MAX_DEPTH:
            return positions.Malformed(lines.at(found.start()), positions.TOO_DEEP)
    return positions.Malformed((1, 1), positions.TOO_DEEP)


def _malformed(problem: str, text: str, lines: positions.Lines) -> positions.Malformed:
    found = _AT.search(problem)
    place = lines.at(len(text))
    if found is None:
        place = (1, 1)
    elif found[1]:
        place = (int(found[1]), int(found[2]))
    advice = next((advice for start, advice in _ADVICE.items() if problem.startswith(start)), "")
    return positions.Malformed(place, advice or f"invalid TOML: {_AT.sub('', problem)}")
