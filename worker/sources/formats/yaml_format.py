"""Parses YAML into plain data in which every scalar is text, with the place of every part.

Invariant: only lists, mappings and text are accepted; anchors, aliases, tags, merge keys and second documents are
refused. So `0123` and `no` stay text, and no document grows while it is read.
Neighbours: `positions` defines the result, `membership_document` interprets it.
"""

import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml import _yaml, events

from worker.sources import positions

_TAB = re.compile(r"^ *\t", re.MULTILINE)
_CONTROL = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
"""Also what ends a line for the YAML parser but not in editors, and what reverses text: both could hide a row."""

_QUOTE = "enclose the text in quotation marks"
_INDENT = "indent lines that belong together by the same number of spaces"
_CLOSE = "close every bracket and quotation mark, and check that the document was not cut off"
_ADVICE = {
    "mapping values are not allowed": f"unexpected colon: {_QUOTE}, or correct the indentation",
    "did not find expected key": f"this does not match the lines above: {_INDENT}",
    "did not find expected '-' indicator": f"this does not match the list above: {_INDENT}",
    "could not find expected ':'": "a key without a colon: write the key, a colon and a space",
    "did not find expected ',' or": f"a list or mapping in brackets is not closed: {_CLOSE}",
    "did not find the expected ',' or": f"a list or mapping in brackets is not closed: {_CLOSE}",
    "found unexpected end of stream": f"the document ends too early: {_CLOSE}",
    "did not find expected node content": f"expected a value: write one, or {_QUOTE}",
    "block sequence entries are not allowed": f"a list cannot start here: begin it on its own line, and {_INDENT}",
    "found unknown escape character": "invalid escape: write \\\\ for a backslash, or use single quotation marks",
    "did not find expected alphabetic or numeric": f"* and & begin YAML references, which are not supported: {_QUOTE}",
}
"""Our message for each beginning of a message of the YAML parser."""


def parse(text: str, *, pack: positions.Pack = positions.keep) -> positions.Document:
    """Parse one document; the data of an empty one is `None`. `pack` may replace items of its lists.

    Raises Malformed.
    """
    lines = positions.Lines(text)
    if tab := _TAB.search(text):
        raise positions.Malformed(lines.at(tab.end() - 1), "tab in the indentation: indent with spaces")
    if control := _CONTROL.search(text) or ("\n" in text and positions.LONE_CR.search(text)):
        raise positions.Malformed(lines.at(control.start()), f"control character U+{ord(control[0]):04X}: remove it")
    try:
        return _Parser(text, lines, pack).document()
    except yaml.MarkedYAMLError as error:
        raise _malformed_yaml(error, text, lines) from None
    except yaml.YAMLError as error:
        raise positions.Malformed((1, 1), f"invalid YAML ({error}): save the document as UTF-8") from None


class _Parser:
    """Builds the data in one pass over the events of the YAML parser."""

    def __init__(self, text: str, lines: positions.Lines, pack: positions.Pack) -> None:
        self._next: Callable[[], Any] = _yaml.CParser(text).get_event
        self._lines = lines
        self._pack = pack
        self._depth = 0
        self._faults: list[tuple[int, str]] = []
        self._keys: dict[str, str] = {}

    def document(self) -> positions.Document:
        data: object = None
        mark: positions.Mark = 0
        self._next()  # the stream starts
        if isinstance(self._next(), events.DocumentStartEvent):
            data, mark = self._value(self._next())
            self._next()  # the document ends
            if isinstance(after := self._next(), events.DocumentStartEvent):
                raise self._malformed(after, "second document in one file: keep one, or split them into two files")
        return positions.Document(data, self._lines, mark, self._faults)

    def _value(self, event: Any) -> tuple[object, positions.Mark]:
        if isinstance(event, events.AliasEvent):
            raise self._malformed(
                event, "aliases are not supported: write the value out, or quote a text that begins with *"
            )
        if event.anchor is not None:
            raise self._malformed(event, "anchors are not supported: remove it, or quote a text that begins with &")
        if event.tag is not None:
            raise self._malformed(event, "tags are not supported: remove it, or quote a text that begins with !")
        start = event.start_mark.index
        if isinstance(event, events.ScalarEvent):
            return self._scalar(event), start
        if self._depth == positions.MAX_DEPTH:
            raise self._malformed(event, positions.TOO_DEEP)
        self._depth += 1
        data: object
        mark: positions.Mark
        if isinstance(event, events.SequenceStartEvent):
            data, items = self._sequence()
            mark = start, items
        else:
            data, entries = self._mapping()
            mark = positions.pack(start, entries)
        self._depth -= 1
        return data, mark

    def _scalar(self, event: Any) -> str | None:
        text: str = event.value
        if not event.implicit[0]:
            return text
        if " " in text and event.start_mark.line != event.end_mark.line:
            raise self._malformed(event, f"the text continues on the next line: {_INDENT}, or {_QUOTE}")
        return text or None

    def _sequence(self) -> tuple[list[object], list[positions.Mark]]:
        items = positions.Items(self._lines, self._pack)
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            items.add(*self._value(event))
        return items.all()

    def _mapping(self) -> tuple[dict[str, object], dict[str, tuple[int, positions.Mark]]]:
        entries: dict[str, object] = {}
        marks: dict[str, tuple[int, positions.Mark]] = {}
        while not isinstance(event := self._next(), events.MappingEndEvent):
            key = self._key(event)
            where = event.start_mark.index
            value, mark = self._value(self._next())
            if key in entries:
                self._faults.append((where, positions.duplicate_key(key, self._lines.at(marks[key][0]))))
            else:
                entries[key] = value
                marks[key] = where, mark
        return entries, marks

    def _key(self, event: Any) -> str:
        if isinstance(event, events.CollectionStartEvent):
            raise self._malformed(event, "a key must be text: write text before the colon")
        key, _ = self._value(event)
        if key == "<<" and event.implicit[0]:
            raise self._malformed(event, "merge keys are not supported: write the entries out")
        return self._keys.setdefault(str(key or ""), str(key or ""))

    def _malformed(self, event: Any, message: str) -> positions.Malformed:
        return positions.Malformed(self._lines.at(event.start_mark.index), message)


def _malformed_yaml(error: yaml.MarkedYAMLError, text: str, lines: positions.Lines) -> positions.Malformed:
    problem = error.problem or "not understood"
    mark = error.problem_mark or error.context_mark
    offset = mark.index if mark else 0
    if "cannot start any token" in problem:
        character = text[offset : offset + 1]
        advice = "a tab: use spaces" if character == "\t" else f"a value cannot begin with {character}: {_QUOTE}"
    else:
        advice = next((advice for start, advice in _ADVICE.items() if problem.startswith(start)), "")
    return positions.Malformed(lines.at(offset), advice or f"invalid YAML ({problem}): {_CLOSE}")
