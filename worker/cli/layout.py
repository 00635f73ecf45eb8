"""Fits text to a terminal: a line that is too long goes on below, indented, at a space.

Invariant: no word is cut, and what two spaces set apart stays on one line if it fits on one. A command goes on behind
a backslash between two arguments, and one in backticks stays on one line, so that it can still be copied into a shell.
What comes from outside cannot control the terminal once it is `printable`.
Neighbours: `context` fits everything that a command prints for people; documents are printed as they are.
"""

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TextIO

from worker.core.model.secret import redact

_DEFAULT_COLUMNS = 80
_INDENT = 4
_FIELD = re.compile(r"( *)([^ ]+(?: [^ ]+)*)")
_WORD = re.compile(r"( *)((?:`fleet-sync [^`]*`|[^ ])+)")
_ARGUMENT = re.compile(r"""( *)((?:'[^']*'|"[^"]*"|[^ ])+)""")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_COMMAND = "fleet-sync "


def columns(stream: TextIO) -> float:
    """Return the width of the terminal that a stream goes to; infinite if it goes to no terminal."""
    if not stream.isatty():
        return math.inf
    try:
        return os.get_terminal_size(stream.fileno()).columns or _DEFAULT_COLUMNS
    except OSError:
        return _DEFAULT_COLUMNS


def fit(text: str, width: float) -> str:
    """Return a text whose lines are at most `width` columns wide, but for words that are wider."""
    return text if math.isinf(width) else "\n".join(_fit_line(line, width) for line in text.split("\n"))


def printable(text: str) -> str:
    """Return a text from outside on one line, without control characters and with keys redacted."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in redact(text))


def cells(text: str) -> int:
    """Return how many columns a text takes on a terminal. Styles take none, most East Asian characters two."""
    plain = _STYLE.sub("", text)
    if plain.isascii():
        return len(plain)
    return sum(_cells(character) for character in plain)


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fit_line(line: str, width: float) -> str:
    if cells(line) <= width:
        return line
    content = line.lstrip(" ")
    indent = len(line) - len(content)
    prose, colon, command = content.partition(f": {_COMMAND}")
    if colon:  # on a line of its own it can be copied
        shown = f"{' ' * (indent + _INDENT)}{_COMMAND}{command}"
        before = f"{' ' * indent}{prose}:"
        return f"{_fit_line(before, width)}\n{_fit_line(shown, width)}"
    is_command = content.startswith(_COMMAND)
    behind = " \\" if is_command else ""
    room = width - indent - _INDENT
    pieces: Iterable[tuple[str, str]] = _ARGUMENT.findall(content) if is_command else _pieces(content, room=room)
    lines, current = [], " " * indent
    for gap, words in pieces:
        if current.strip(" ") and cells(current) + len(gap) + cells(words) + len(behind) > width:
            lines.append(current + behind)
            current = " " * int(min(indent + _INDENT, max(0, width - cells(words)))) + words
        else:
            current += gap + words
    return "\n".join([*lines, current])


def _pieces(content: str, *, room: float) -> Iterator[tuple[str, str]]:
    """Yield what stays on one line, each behind its gap: a field between two spaces, or a word of one without room."""
    for gap, field in _FIELD.findall(content):
        yield from [(gap, field)] if cells(field) <= room else _WORD.findall(gap + field)
