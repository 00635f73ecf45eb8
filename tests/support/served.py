"""Serves an ASGI application on a real port of this machine, and opens ports that only listen.

Invariant: serving ends with the block. Neighbours: `command` runs the program against it.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator

import anyio.abc
import anyio.from_thread

from worker.sandbox import http_types, server


async def _serve(served: http_types.App, *, task_status: anyio.abc.TaskStatus[str]) -> None:
    await server.serve(served, started=task_status.started)


@contextlib.contextmanager
def over_http(served: http_types.App) -> Iterator[str]:
    """Serve from a thread for the duration of the block, and yield the base URL."""
    with anyio.from_thread.start_blocking_portal() as portal:
        task, url = portal.start_task(_serve, served)
        try:
            yield url
        finally:
            task.cancel()


class Trap:
    """A port that accepts connections and records what arrives, which must be nothing."""

    def __init__(self, listener: socket.socket) -> None:
        """Store the listener."""
        self.port: int = listener.getsockname()[1]
        self.caught: list[bytes] = []
        self._listener = listener

    def watch(self) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                with contextlib.suppress(OSError):
                    self.caught.append(connection.recv(65536))


@contextlib.contextmanager
def trap() -> Iterator[Trap]:
    """Listen on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        caught = Trap(listener)
        thread = threading.Thread(target=caught.watch)
        thread.start()
        try:
            yield caught
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
