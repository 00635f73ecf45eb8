"""OpenSSH's server on a free port of loopback, and a proxy that cuts connections to it."""

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator

import asyncssh
import pytest

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
_RUN = pathlib.Path("/run/sshd")
_PATIENT = 60.0

_CONFIGURATION = """ListenAddress 127.0.0.1
Port {port}
HostKey "{folder}/host_key"
AuthorizedKeysFile "{folder}/authorized_keys"
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
"""


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that lets the user of the tests in. `folder` has the files `key` and `known_hosts`."""

    port: int
    folder: pathlib.Path
    user: str

    def known_hosts(self, port: int) -> str:
        """Return the line that makes the server known on this port."""
        return f"[127.0.0.1]:{port} {(self.folder / 'host_key.pub').read_text()}"


def write_key(path: pathlib.Path) -> None:
    """Write a new private key, and beside it the public one."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(path))
    path.chmod(0o600)
    key.write_public_key(f"{path}.pub")


@contextlib.contextmanager
def sshd(folder: pathlib.Path) -> Iterator[Server]:
    """Start the server. Skips the test if it is not installed, or fails it where all programs are required."""
    if not pathlib.Path(SSHD).exists():
        if os.environ.get("FLEET_SYNC_TEST_TOOLS") == "required":
            pytest.fail("sshd is not installed")
        pytest.skip("sshd is not installed")
    if os.geteuid() == 0:  # Debian makes this folder only when it starts the service
        _RUN.mkdir(mode=0o755, exist_ok=True)
    write_key(folder / "host_key")
    write_key(folder / "key")
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = folder / "sshd_config"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port))
    import pwd

    server = Server(port, folder, pwd.getpwuid(os.geteuid()).pw_name)
    (folder / "known_hosts").write_text(server.known_hosts(port))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([SSHD, "-D", "-e", "-f", str(configuration)], stderr=log) as process,
    ):
        try:
            _wait(port, process)
            yield server
        finally:
            process.terminate()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENT
    while time.monotonic() < deadline:
        assert process.poll() is None, "sshd does not start"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
    pytest.fail("sshd does not listen")


@contextlib.asynccontextmanager
async def cutting(port: int, most: int) -> AsyncIterator[int]:
    """Yield the port of a proxy that ends each connection after so many bytes from the server."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        while data := await reader.read(4096):
            if left is not None:
                data = data[:left]
                left -= len(data)
            writer.write(data)
            if left == 0:
                break

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_server = await asyncio.open_connection("127.0.0.1", port)
        pumps = [
            asyncio.create_task(pump(reader, to_server, None)),
            asyncio.create_task(pump(upstream, writer, most)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in pumps:
            task.cancel()
        await asyncio.wait(pumps)
        for each in (writer, to_server):
            each.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
