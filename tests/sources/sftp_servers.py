"""An SFTP server within the test: it asks for a password, and cuts or stalls what it sends."""

import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import asyncssh

USER = "hr"


@dataclasses.dataclass
class Faults:
    """What goes wrong: `most` is the place in a file where it does, `is_rude` whether the connection ends there."""

    most: int | None = None
    is_rude: bool = False
    is_stalled: bool = False


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server. `folder` is what it serves, `known_hosts` the line that makes it known."""

    port: int
    folder: pathlib.Path
    known_hosts: str
    faults: Faults


class _Login(asyncssh.SSHServer):
    def __init__(self, password: str) -> None:
        self._password = password

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, self._password)


class _Files(asyncssh.SFTPServer):
    faults: Faults
    opened: contextlib.ExitStack

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Remember to close the file: asyncssh does not when a connection ends while it is read."""
        return self.opened.enter_context(super().open(path, pflags, attrs))  # type: ignore[arg-type]

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        if self.faults.is_stalled:
            await anyio.sleep_forever()
        data: bytes = super().read(file_obj, offset, size)  # type: ignore[assignment]
        if self.faults.most is None or offset + len(data) <= self.faults.most:
            return data
        if self.faults.is_rude:
            self.channel.get_connection().abort()
        return data[: max(0, self.faults.most - offset)]


@contextlib.asynccontextmanager
async def serving(folder: pathlib.Path, password: str) -> AsyncIterator[Server]:
    """Serve a folder on a free port of loopback."""
    faults, opened = Faults(), contextlib.ExitStack()

    def files(channel: "asyncssh.SSHServerChannel[Any]") -> asyncssh.SFTPServer:
        served = _Files(channel, chroot=str(folder).encode())
        served.faults, served.opened = faults, opened
        return served

    key = asyncssh.generate_private_key("ssh-ed25519")
    acceptor = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=lambda: _Login(password), server_host_keys=[key], sftp_factory=files, config=None
    )
    async with acceptor:
        port = acceptor.get_port()
        known = f"[127.0.0.1]:{port} {key.export_public_key().decode()}"
        with opened:
            yield Server(port, folder, known, faults)
