"""Starts commands quickly: one process imports the whole program once, and forks itself for each command.

Invariant: a command has its own process, environment, folder and output, and ends as the interpreter ends; it shares
with others only what importing left behind. What a start itself shows (`fresh` in `command.start`) is not started here.
Neighbours: `command` starts this process and speaks with it.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pathlib
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
from typing import Any

import worker
from worker.cli import main as entry_point

THIRD_PARTY = ("anyio._backends._asyncio", "rich.console", "rich.progress", "rich.table", "sqlite3", "uvicorn")
"""What commands import only when they need it."""


def main() -> None:
    """Serve the socket whose descriptor is the first argument, until the other side closes it."""
    _import_everything()
    runpy.run_path(str(pathlib.Path(__file__).with_name("loopback.py")))["install"]()
    if coverage := sys.modules.get("coverage"):
        coverage.Coverage.current().save()  # so that a command does not save again what importing ran
    gc.freeze()
    command = _serve(socket.socket(fileno=int(sys.argv[1])))
    if command is not None:  # in the child
        _become(*command)


def _import_everything() -> None:
    entry_point.block_unused_imports()
    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    del sys.modules["rich"]  # structlog is imported without it
    for name in THIRD_PARTY:
        importlib.import_module(name)


def _serve(connection: socket.socket) -> tuple[Any, list[int]] | None:
    """Fork for each request. Return the request in the child, and None in the parent once the connection is closed."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not connection:
                    selector.unregister(key.fileobj)
                    _tell_the_end(key.fd, *key.data)
                    continue
                message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 4)
                if not message:
                    return None
                process = os.fork()
                if process == 0:
                    selector.close()
                    connection.close()
                    return json.loads(message), descriptors
                status = descriptors.pop()
                for descriptor in descriptors:
                    os.close(descriptor)
                os.write(status, b"%d\n" % process)
                selector.register(os.pidfd_open(process), selectors.EVENT_READ, (process, status))


def _tell_the_end(descriptor: int, process: int, status: int) -> None:
    """Write the exit code of a process that has ended, as `subprocess` counts it: negative for a signal."""
    os.close(descriptor)
    _, code = os.waitpid(process, 0)
    with contextlib.suppress(BrokenPipeError):  # nobody asks any more
        os.write(status, b"%d\n" % os.waitstatus_to_exitcode(code))
    os.close(status)


def _become(request: Any, descriptors: list[int]) -> None:
    """Run the command in this process, and exit as it does."""
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which the tests ignore where nohup started them
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        # As the interpreter opens them when it starts.
        stream = os.fdopen(number, "w", encoding="utf-8", closefd=False)
        stream.reconfigure(line_buffering=number == 2 or stream.isatty())
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    # What the standard library took from the environment of the server is taken again from that of the command.
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    time.tzset()
    tempfile.tempdir = None
    sys.argv = [request["program"], *request["arguments"]]
    try:
        entry_point.main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _end(end.code or 0)
        raise


def _end(code: int) -> None:
    """End as the interpreter does, without freeing all that was imported: that takes longer than most commands.

    Return if something is left that only the interpreter reports: output that cannot be written.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
