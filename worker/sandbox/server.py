"""Serves the sandbox on a real port with uvicorn, and breaks connections as `faults` asks.

Invariant: when `serve` returns or is cancelled, the port is free and no request is left running.
Neighbours: `app` is the application; `faults` defines the connection faults.
"""

import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

import anyio
import anyio.lowlevel
import uvicorn
from uvicorn.protocols.http import h11_impl

from worker.sandbox import faults, http_types

BACKLOG: Final = 2048
KEEP_ALIVE_SECONDS: Final = 75

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: closing then sends RST instead of FIN


class _Protocol(h11_impl.H11Protocol):
    """uvicorn's protocol, which gives the application its connection: ASGI has no way to break one."""

    def connection_made(self, transport: Any) -> None:
        """Add the connection to the state of every request."""
        super().connection_made(transport)
        # asyncio sets this only if the socket's protocol number is given, which `create_server` leaves out. Without
        # it, the body of a reply follows its head after 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    """uvicorn's server, without signal handlers, which reports when it listens and stops at once."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command that runs the server."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call `listening`."""
        await super().startup(sockets)
        self._listening()

    async def stop(self) -> None:
        """Stop listening and abort every connection: a hanging request would otherwise keep the server running."""
        if not self.started:
            return
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        while self.server_state.tasks:
            await anyio.lowlevel.checkpoint()


async def serve(
    sandbox: http_types.App,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve until cancelled. `started` is called with the base URL once the port is open; port 0 is any free port.

    Needs asyncio, because uvicorn does. Silences uvicorn's loggers for the whole process. Raises OSError if the port
    cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=BACKLOG) as listener:
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}/v1"
        server = _Server(_config(sandbox), lambda: started(url) if started else None)
        try:
            await server.serve(sockets=[listener])
        finally:
            with anyio.CancelScope(shield=True):
                await server.stop()


def _config(sandbox: http_types.App) -> uvicorn.Config:
    return uvicorn.Config(
        _edge(sandbox),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.CRITICAL + 1,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


def _edge(sandbox: http_types.App) -> http_types.App:
    async def answer(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        transport = scope["state"]["transport"]
        try:
            await sandbox(scope, receive, send)
        except faults.ConnectionReset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        except faults.ConnectionCut:
            transport.close()

    return answer
