"""Sets up stdout and stderr, and handles output that cannot be written.

Invariant: after `prepare`, both streams exist and write UTF-8; stdin exists too. Neighbours: `main` calls this around
every command.
"""

import contextlib
import io
import os
import pathlib
import sys

import click


def prepare() -> None:
    """Make both streams write UTF-8, whatever the locale, because documents are UTF-8. Replace what is closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # Without a replacement, the next file or socket would get the number of the closed stream.
            setattr(sys, name, pathlib.Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        elif name == "stdin":
            continue
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def report_lost_output(error: OSError) -> None:
    """Report that the output could not be written, unless its reader closed the pipe, and discard the rest of it."""
    if not isinstance(error, BrokenPipeError):
        with contextlib.suppress(OSError):
            click.echo(f"error: the output could not be written: {error.strerror or error}", err=True)
    _discard_buffered_output()


def _discard_buffered_output() -> None:
    """Send buffered output to nowhere: Python would fail again when it flushes at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(devnull, stream.fileno())
