"""Configures the log: lines go to stderr, formatted for people on a terminal and as one JSON object a line elsewhere.

Invariant: no secret passed to `hide` leaves the process in a log line. Neighbours: `cli.context` calls `configure`
once; every other module just uses structlog.
"""

import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, BinaryIO, Final, Literal, cast

import msgspec
import structlog

from worker.core.model.secret import Secret

Format = Literal["auto", "console", "json"]

_SHORTEST_ANYWHERE: Final = 8
"""Secrets shorter than this are masked only as whole words: "e" must not turn "exception" into noise."""

_MASK: Final = "[secret]"

_texts: set[str] = set()
_words: dict[str, re.Pattern[str]] = {}
"""Secrets, by how they are found: a process may have the keys of many accounts, and logs many lines.

Threads that read settings add to them, so they are copied before they are iterated."""


def hide(*secrets: Secret) -> None:
    """Mask these secrets in every log line from now on."""
    for text in (each.reveal() for each in secrets):
        if len(text) >= _SHORTEST_ANYWHERE:
            _texts.add(text)
        elif text:
            _words[text] = re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")


def configure(
    *,
    form: Format,
    level: str,
    colours: bool = False,
    left_out: Collection[str] = (),
    before: Callable[[], None] = lambda: None,
    fit: Callable[[str], str] = lambda line: line,
) -> None:
    """Set the format and the lowest level of log lines; `auto` is for people on a terminal and JSON elsewhere.

    Events in `left_out` are dropped. `before` is called before each line. `fit` fits lines for people to a terminal.
    """
    is_pretty = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: list[structlog.typing.Processor] = (
        [_for_people(colours=colours), functools.partial(_encode, fit)]
        if is_pretty
        else [_order, structlog.processors.JSONRenderer(serializer=_json)]
    )
    structlog.configure(
        processors=[
            functools.partial(_drop, frozenset(left_out)),
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            _mask_values,  # before rendering: a mask inside a rendered line could break its JSON
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(cast(BinaryIO, _Stderr(before))),
        cache_logger_on_first_use=True,
    )


class _Stderr:
    """Writes to stderr until that fails: a log that cannot be written must not end a run halfway."""

    def __init__(self, before: Callable[[], None]) -> None:
        """Take what to call before each line."""
        self._before = before

    def write(self, line: bytes) -> None:
        """Write a line and flush it."""
        try:
            self._before()
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def flush(self) -> None:
        """Do nothing: every line is flushed when it is written."""


def _drop(
    events: Collection[str], _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if event["event"] in events:
        raise structlog.DropEvent
    return event


def _mask_values(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: value if name == "event" else _masked(value) for name, value in event.items()}


def _masked(value: Any) -> Any:
    """Return the value with every secret in its text masked, whatever it is nested in."""
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {_masked(key): _masked(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked(item) for item in value]
        case _:
            text = str(value).encode(errors="replace").decode()  # JSON has no lone surrogates; file names may
            for secret in sorted((each for each in list(_texts) if each in text), key=len, reverse=True):
                text = text.replace(secret, _MASK)  # the longest first: a secret may contain another one
            for word in list(_words.values()):
                text = word.sub(_MASK, text)
            return text if text.isprintable() else "".join(map(_printable, text))


def _printable(letter: str) -> str:
    """Return the letter, unless it could control a terminal or reorder a line: names come from outside."""
    return letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}"


def _order(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Put what every line has first."""
    return {name: event[name] for name in ("timestamp", "level", "event")} | dict(event)


def _json(event: structlog.typing.EventDict, **_options: object) -> bytes:
    return msgspec.json.encode(event)


def _for_people(*, colours: bool) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=colours,
        exception_formatter=structlog.dev.plain_traceback,
        pad_event_to=0,
        pad_level=False,
        sort_keys=False,
    )


def _encode(
    fit: Callable[[str], str],
    _logger: object,
    _method: str,
    line: str | bytes | structlog.typing.EventDict,
) -> bytes:
    return fit(str(line)).encode(errors="replace")
