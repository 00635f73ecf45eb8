"""Reads TOML, with the place of every part.

Invariant: `tomllib` alone decides what is valid and what it means; the walk over the same text only finds places,
and may therefore trust it. Neighbours: `syntax` has the values; `documents` reads membership from this, and
`settings` its file.
"""

import re
import tomllib
from typing import Any, TypeAlias, cast

from worker.sources import positions

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_STRING = r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
_TEXT = re.compile(_STRING, re.DOTALL)
_BARE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[^\s,\]}#]+|[^\s,\]}#]+")
_PART = re.compile(rf"[ \t]*([A-Za-z0-9_-]+|{_STRING})[ \t]*")
_SIMPLE = re.compile(r"([A-Za-z0-9_-]+)[ \t]*=[ \t]*")
_NESTING = re.compile(rf"{_STRING}|#[^\n]*|[\[\]{{}}]", re.DOTALL)
_WHERE = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$")

_ADVICE = {
    "Cannot overwrite a value": "this key has a value already: keep one of them",
    "Cannot declare": "this table was begun before: put its keys together under one heading",
    "Cannot mutate": "this is complete already, or stands here twice: keep one, with all its keys",
    "Cannot redefine": "this is complete already, or stands here twice: keep one, with all its keys",
    "Duplicate inline table key": "this key stands here twice: keep one of them",
    "Expected '='": "a key without its value: write key = value, and text that is no key in quotation marks",
    "Expected newline or end": "something follows the value: begin a new line, or put all of it in quotation marks",
    "Invalid value": 'a value is missing here: write text in "quotation marks", a number, true or false, or a list',
    "Invalid statement": "this is no key: write key = value, or put the key in quotation marks",
    "Invalid initial character": "this is no key: write letters, digits, - and _, or put the key in quotation marks",
    "Unclosed array": "a list is not closed: write commas between its items, and ] at its end",
    "Unclosed inline table": "a table in braces is not closed: write commas between its entries and } at its end",
    "Expected \"'": "a text is not closed: write its quotation mark; was the document cut off?",
    "Unterminated string": "a text is not closed: write its quotation mark; was the document cut off?",
    "Unescaped": "a backslash too many: write \\\\, or use 'single quotation marks'",
    "Illegal character": "a character that is not allowed here: close the text on its own line, or remove it",
    "Invalid date": "there is no such date or time: write it as 2026-12-31 or 2026-12-31T08:00:00Z",
}

_Table: TypeAlias = dict[str, tuple[int, positions.Mark]]


def parse(text: str, *, texts: bool = False) -> positions.Document:
    """Read a TOML document; with `texts`, numbers, dates and truth values as the text they are written in.

    Raises Malformed.
    """
    lines = positions.Lines(text)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise _too_deep(text, lines) from None
    except ValueError as error:
        raise _malformed(str(error), text, lines) from None
    return positions.Document(data, lines, _Walk(text, lines, texts=texts).document(data))


class _Walk:
    """A walk over a valid document and its data; `self._at` is the offset of what comes next."""

    def __init__(self, text: str, lines: positions.Lines, *, texts: bool) -> None:
        self._text = text
        self._lines = lines
        self._texts = texts
        self._at = 0
        self._depth = 0

    def document(self, data: dict[str, Any]) -> positions.Mark:
        root: _Table = {}
        table, inside = data, root
        while first := self._peek():
            if first == "[":
                table, inside = self._header(data, root)
            else:
                self._entry(table, inside)
        return 0, root

    def _header(self, data: Any, inside: _Table) -> tuple[Any, _Table]:
        """Read `[a.b]` or `[[a.b]]`; what a path leads through is the newest table of an array."""
        start = self._at
        array = self._text.startswith("[[", start)
        self._at += 2 if array else 1
        parts = self._parts()
        for index, (part, offset) in enumerate(parts):
            data = data[part]
            _, mark = inside.setdefault(part, (offset, (start, [] if isinstance(data, list) else {})))
            marks = _within(mark)
            if isinstance(marks, list):
                if array and index == len(parts) - 1:
                    marks.append((start, {}))
                data, marks = data[len(marks) - 1], _within(marks[-1])
            assert isinstance(marks, dict)  # noqa: S101 - the document is valid
            inside = marks
        self._at += 2 if array else 1
        return data, inside

    def _entry(self, data: Any, inside: _Table) -> None:
        """Read `a.b = value`."""
        if simple := _SIMPLE.match(self._text, self._at):  # by far the most are, and parts take their time
            self._at = simple.end()
            inside[simple[1]] = simple.start(1), self._value(data, simple[1])
            return
        *tables, (last, where) = self._parts()
        for part, offset in tables:
            data = data[part]
            _, mark = inside.setdefault(part, (offset, (offset, {})))
            inside = cast(_Table, _within(mark))
        self._at += 1  # =
        self._peek()
        inside[last] = where, self._value(data, last)

    def _value(self, data: Any, key: str | int) -> positions.Mark:
        """Read the value that stands in `data` under `key`."""
        start = self._at
        first = self._text[start]
        if first in "[{":
            self._depth += 1
            if self._depth > positions.DEPTH:
                raise positions.Malformed(self._lines.at(start), positions.TOO_DEEP)
            self._at += 1
            mark = start, self._items(data[key]) if first == "[" else self._entries(data[key])
            self._at += 1
            self._depth -= 1
            return mark
        if first in "\"'":
            self._at = self._ends(_TEXT)
        else:
            self._at = self._ends(_BARE)
            if self._texts:
                data[key] = self._text[start : self._at]
        return start

    def _items(self, data: Any) -> list[positions.Mark]:
        marks: list[positions.Mark] = []
        while self._peek() != "]":
            marks.append(self._value(data, len(marks)))
            if self._peek() == ",":
                self._at += 1
        return marks

    def _entries(self, data: Any) -> _Table:
        inside: _Table = {}
        while self._peek() != "}":
            self._entry(data, inside)
            if self._peek() == ",":
                self._at += 1
        return inside

    def _parts(self) -> list[tuple[str, int]]:
        """Read a dotted key, as its parts and where each stands."""
        parts = []
        while found := _PART.match(self._text, self._at):
            parts.append((_unquoted(found[1]), found.start(1)))
            self._at = found.end()
            if self._text[self._at] != ".":
                break
            self._at += 1
        if len(parts) > positions.DEPTH:
            raise positions.Malformed(self._lines.at(parts[0][1]), positions.TOO_DEEP)
        return parts

    def _peek(self) -> str:
        """Step over space and remarks; give the character that follows."""
        first = self._text[self._at : self._at + 1]
        if first and first in " \t\r\n#":
            self._at = self._ends(_SPACE)
            first = self._text[self._at : self._at + 1]
        return first

    def _ends(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self._text, self._at)
        return found.end() if found else self._at


def _within(mark: positions.Mark) -> list[positions.Mark] | _Table:
    return [] if isinstance(mark, int) else mark[1]


def _unquoted(part: str) -> str:
    if part[0] == '"' and "\\" in part:
        return str(tomllib.loads(f"key = {part}")["key"])
    return part[1:-1] if part[0] in "\"'" else part


def _too_deep(text: str, lines: positions.Lines) -> positions.Malformed:
    depth = 0
    for found in _NESTING.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > positions.DEPTH:
            return positions.Malformed(lines.at(found.start()), positions.TOO_DEEP)
    return positions.Malformed((1, 1), positions.TOO_DEEP)


def _malformed(problem: str, text: str, lines: positions.Lines) -> positions.Malformed:
    found = _WHERE.search(problem)
    place = lines.at(len(text))
    if found is None:
        place = (1, 1)
    elif found[1]:
        place = (int(found[1]), int(found[2]))
    words = next((advice for start, advice in _ADVICE.items() if problem.startswith(start)), "")
    return positions.Malformed(place, words or f"this is not TOML: {_WHERE.sub('', problem)}")
