"""The status page behind a real port: uvicorn as one task among others, silent, and gone when it is cancelled.

Invariant: when `serve` returns or is cancelled, the port is free and no request is left running; however many connect,
what the service itself does goes on. Neighbours: `app` is what is served; `feed` is told to end its streams.
"""

import contextlib
import dataclasses
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import anyio
import anyio.lowlevel
import h11
import uvicorn
from starlette import applications
from uvicorn.protocols.http import h11_impl

from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem

_PRIVILEGED: Final = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What others may take of this process.

    `connections` at once, far above what live streams may take; who comes later gets 503. A new connection has
    `request_seconds` to say what it wants; answers have `grace_seconds` to get out when the service ends.
    """

    connections: int = 128
    keep_alive_seconds: int = 15
    request_seconds: float = 10.0
    grace_seconds: float = 1.0


LIMITS: Final = Limits()


class _Config(uvicorn.Config):
    """uvicorn's own, and our limits."""

    limits = LIMITS


class _Protocol(h11_impl.H11Protocol):
    """uvicorn's own, that waits neither for Nagle nor for a client that does not say what it wants."""

    def connection_made(self, transport: Any) -> None:
        """Send at once, and give the client some seconds."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._backoff = self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._backoff.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Give the client some seconds for the rest of a head that has begun, of whichever request."""
        super().handle_events()
        self._backoff.cancel()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._backoff = self._be_patient()

    def _be_patient(self) -> Any:
        return self.loop.call_later(_limits(self.config).request_seconds, self.transport.abort)


class _Server(uvicorn.Server):
    """uvicorn's own, without signal handlers, that says when it listens and leaves quickly."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service that we are a part of."""
        yield

    async def main_loop(self) -> None:
        """Keep the date of the answers, and look at nothing else: uvicorn's own wakes ten times a second."""
        while not await self.on_tick(0):  # noqa: ASYNC110 - what it waits for is the time
            await anyio.sleep(1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._listening()

    async def leave(self) -> None:
        """Stop listening, let answers get out for a moment, and break off the rest."""
        if not self.started:
            return
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with anyio.move_on_after(_limits(self.config).grace_seconds):
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
    started: Callable[[str], None] = lambda url: None,
    limits: Limits = LIMITS,
) -> None:
    """Serve until cancelled; `started` gets the page's address once the port (0: any free one) listens.

    Needs asyncio, as uvicorn does. Raises errors.SettingsError where the address cannot be had.
    """
    with _listener(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}/"
        server = _Server(_config(app, limits), lambda: started(url))
        try:
            await server.serve(sockets=[listener])
        finally:
            with anyio.CancelScope(shield=True):
                app.state.feed.close()
                await server.leave()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        where = f"{host}:{port}"
        problem = Problem("status.listen", f"{where} cannot be listened on: {_reason(error)}")
        raise SettingsError([problem], remedy=remedy(error, port)) from None


def _reason(error: OSError | OverflowError) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or str(error)


def remedy(error: OSError | OverflowError, port: int) -> str:
    """Say what to do where an address cannot be had for this reason."""
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return "Choose another port, or end the process that has it: `ss -ltnp` shows which one."
    if number == errno.EACCES and port < _PRIVILEGED:
        return "Ports below 1024 need privileges: choose one above."
    return "Give `status.listen` an address of this machine, as 127.0.0.1:8080 or 0.0.0.0:8080."


def _config(app: applications.Starlette, limits: Limits) -> uvicorn.Config:
    config = _Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.CRITICAL + 1,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.keep_alive_seconds,
    )
    config.limits = limits
    return config


def _limits(config: uvicorn.Config) -> Limits:
    return config.limits if isinstance(config, _Config) else LIMITS
