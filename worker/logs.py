"""Where log lines go and what they look like: to stderr, pretty on a terminal, one JSON object a line elsewhere.

Invariant: no secret that was announced with `hide` leaves in a log line. Neighbours: `cli.main` configures this once;
everybody else just calls structlog.
"""

import functools
import logging
import os
import sys
from collections.abc import Callable, Collection
from typing import BinaryIO, Literal, cast

import msgspec
import structlog

from worker.core.model.secret import Secret

Format = Literal["auto", "console", "json"]

_hidden: set[bytes] = set()


def hide(key: Secret) -> None:
    """Keep this key out of every line from now on."""
    _hidden.add(key.reveal().encode())


def configure(
    *,
    form: Format,
    level: str,
    colours: bool = True,
    left_out: Collection[str] = (),
    before: Callable[[], None] = lambda: None,
) -> None:
    """Set the form and the lowest level of all lines; `auto` is pretty on a terminal and JSON elsewhere.

    Only a terminal gets `colours`. Events that are `left_out` are told elsewhere. `before` is called before each line.
    """
    pretty = form == "console" or (form == "auto" and sys.stderr.isatty())
    colours = colours and sys.stderr.isatty()
    renderer: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback), _encoded]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    )
    structlog.configure(
        processors=[
            functools.partial(_leave_out, frozenset(left_out)),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
            _masked,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(cast(BinaryIO, _Stderr(before))),
        cache_logger_on_first_use=True,
    )


class _Stderr:
    """stderr, as long as somebody takes what it gets: a log that cannot be written ends no run halfway."""

    def __init__(self, before: Callable[[], None]) -> None:
        """Take what is to be done before each line."""
        self._before = before

    def write(self, line: bytes) -> None:
        """Write a line."""
        try:
            self._before()
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def flush(self) -> None:
        """Do nothing: a line is flushed as it is written."""


def _leave_out(
    events: Collection[str], _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if event["event"] in events:
        raise structlog.DropEvent
    return event


def _json(event: structlog.typing.EventDict, **_options: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


def _encoded(_logger: object, _method: str, line: str | bytes | structlog.typing.EventDict) -> bytes:
    return str(line).encode(errors="replace")


def _masked(_logger: object, _method: str, line: object) -> bytes:
    text = line if isinstance(line, bytes) else str(line).encode(errors="replace")
    for key in _hidden:
        text = text.replace(key, b"[the key]")
    return text
