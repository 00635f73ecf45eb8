"""Serves the app on a port: runs uvicorn as a task among others, without its signal handlers and its log.

Invariant: when `serve` returns or is cancelled, the port is free and no request is left running. Neighbours: `app` is
served; `connections` bounds the clients; `live_updates` ends its streams when the server stops.
"""

import contextlib
import dataclasses
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import anyio
import anyio.lowlevel
import h11
import uvicorn
from starlette import applications
from uvicorn.protocols.http import h11_impl

from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem
from worker.web import connections

_PRIVILEGED: Final = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Limits on what clients may take of this process.

    At most `connections` are open; see `connections`. A client has `request_seconds` to send the head of a
    request. Responses in progress have `grace_seconds` to finish when the service stops.
    """

    connections: int = 128
    keep_alive_seconds: int = 15
    request_seconds: float = 10.0
    grace_seconds: float = 1.0


LIMITS: Final = Limits()


class _Config(uvicorn.Config):
    """uvicorn's configuration with our limits and the open connections."""

    def __init__(self, app: applications.Starlette, limits: Limits) -> None:
        super().__init__(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.CRITICAL + 1,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=limits.keep_alive_seconds,
        )
        self.limits = limits
        self.connections = connections.ConnectionTable(max_connections=limits.connections)


class _Protocol(h11_impl.H11Protocol):
    """uvicorn's protocol without Nagle's delay, and with a deadline for the head of a request."""

    def connection_made(self, transport: Any) -> None:
        """Disable Nagle's algorithm, make room if there are too many connections, and start the deadline."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ours.connections.add(self, self.client[0] if self.client else "")
        self._deadline = self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and stop the deadline."""
        self._deadline.cancel()
        self._ours.connections.remove(self)
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def handle_events(self) -> None:
        """Restart the deadline if the head of a request is incomplete; a later request on the connection counts too."""
        super().handle_events()
        self._deadline.cancel()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._deadline = self._start_deadline()

    def _start_deadline(self) -> Any:
        return self.loop.call_later(self._ours.limits.request_seconds, self.transport.abort)

    @property
    def _ours(self) -> _Config:
        return cast(_Config, self.config)


class _Server(uvicorn.Server):
    """uvicorn's server without signal handlers, which reports when it listens and stops quickly."""

    def __init__(self, config: _Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._grace_seconds = config.limits.grace_seconds
        self._on_listening = on_listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service."""
        yield

    async def main_loop(self) -> None:
        """Update the `Date` header once a second; uvicorn's own loop wakes ten times a second."""
        while not await self.on_tick(0):  # noqa: ASYNC110 - it waits for time to pass
            await anyio.sleep(1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then report it."""
        await super().startup(sockets)
        self._on_listening()

    async def stop(self) -> None:
        """Stop listening, give responses in progress a moment to finish, and abort the rest."""
        if not self.started:
            return
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with anyio.move_on_after(self._grace_seconds):
            while self.server_state.tasks:  # noqa: ASYNC110 - uvicorn has no event for their end
                await anyio.sleep(0.01)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        while self.server_state.tasks:
            await anyio.lowlevel.checkpoint()


async def serve(
    app: applications.Starlette,
    *,
    host: str,
    port: int,
    on_listening: Callable[[str], None] = lambda url: None,
    limits: Limits = LIMITS,
) -> None:
    """Serve until cancelled; call `on_listening` with the page's address once it listens. Port 0 is any free port.

    Needs asyncio, as uvicorn does. Raises errors.SettingsError if the address cannot be used.
    """
    with _listener(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}/"
        server = _Server(_Config(app, limits), lambda: on_listening(url))
        try:
            await server.serve(sockets=[listener])
        finally:
            with anyio.CancelScope(shield=True):
                app.state.live_updates.close()
                await server.stop()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        where = f"{host}:{port}"
        problem = Problem("status.listen", f"cannot listen on {where}: {_reason(error)}")
        raise SettingsError([problem], remedy=remedy(error, port)) from None


def _reason(error: OSError | OverflowError) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or str(error)


def remedy(error: OSError | OverflowError, port: int) -> str:
    """Return what to do about an address that cannot be used for this reason."""
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return "Choose another port, or stop the process that uses it: `ss -ltnp` shows which one that is."
    if number == errno.EACCES and port < _PRIVILEGED:
        return "Ports below 1024 need privileges: choose a higher one."
    return "Set `status.listen` to an address of this machine, such as 127.0.0.1:8080 or 0.0.0.0:8080."
