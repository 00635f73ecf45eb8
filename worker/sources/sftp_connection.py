"""Talks to an SFTP server with asyncssh.

Invariant: only what the settings name takes part: no agent, no key, host or option of the user's own ssh files.
Neighbours: `sftp_source` decides what is read, and when it is whole.
"""

import contextlib
import errno
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, cast

import anyio
import asyncssh
from anyio import to_thread

from worker.sources import fetching, secret_files, sftp_source

_MOST_ENTRIES = 100_000
_CUT_SHORT = "the connection ended before everything had arrived: try again"

# Its log lines contain names of users and files, and every failure is reported by an error.
asyncssh.set_log_level("CRITICAL")


@contextlib.asynccontextmanager
async def connect(server: sftp_source.Server, name: str) -> AsyncIterator[sftp_source.Session]:
    """Connect, and yield the session; `name` begins every error. Raises errors.SourceError."""
    login = await to_thread.run_sync(_login, server, name, abandon_on_cancel=True)
    with _failures(server, name):
        connection = await asyncssh.connect(
            server.host,
            server.port,
            username=server.username,
            config=None,
            agent_path=None,
            gss_auth=False,
            gss_kex=False,
            **login,
        )
        try:
            # Without this, one file name that is not UTF-8 makes the whole folder unreadable.
            client = await connection.start_sftp_client(path_errors="surrogateescape")
            yield _Session(client, name)
        finally:
            connection.abort()
            with anyio.CancelScope(shield=True), anyio.move_on_after(0.5):
                await connection.wait_closed()


def _login(server: sftp_source.Server, name: str) -> dict[str, Any]:
    """Read the files with the keys of known hosts, and with our key or password."""
    try:
        if not stat.S_ISREG(server.known_hosts_file.stat().st_mode):  # reading a pipe could block forever
            raise OSError(errno.EINVAL, "it is not a regular file")
        known_hosts = asyncssh.read_known_hosts(str(server.known_hosts_file))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not in the form of known_hosts"
        message = f"known_hosts_file: the file {server.known_hosts_file} cannot be read ({reason})"
        raise fetching.failure(name, message, code="source_unauthorized") from None
    text = secret_files.read(server.secret_file, name=name, setting=server.login).reveal()
    if server.login == "password_file":
        methods = "password,keyboard-interactive"
        return {"known_hosts": known_hosts, "password": text, "client_keys": None, "preferred_auth": methods}
    return {"known_hosts": known_hosts, "client_keys": [_key(server, name, text)], "preferred_auth": "publickey"}


def _key(server: sftp_source.Server, name: str, text: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(f"{text}\n")
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
        message = f"key_file: the file {server.secret_file} does not contain one private key without a passphrase"
    raise fetching.failure(name, message, code="source_unauthorized")


class _Session:
    """Implements sftp_source.Session."""

    def __init__(self, client: asyncssh.SFTPClient, name: str) -> None:
        self._client = client
        self._name = name

    async def entries(self, folder: str) -> Mapping[str, sftp_source.Status]:
        found: dict[str, sftp_source.Status] = {}
        try:
            async for entry in self._client.scandir(folder):
                found[str(entry.filename)] = _status(entry.attrs)
                if len(found) > _MOST_ENTRIES:
                    message = f"the folder has more than {_MOST_ENTRIES} files: remove what is old"
                    raise fetching.failure(self._name, message, code="source_too_large")
        except asyncssh.SFTPNoSuchFile:
            message = f"the server has no folder {folder}: correct the path"
            raise fetching.failure(self._name, message, code="source_unreachable") from None
        return found

    async def status(self, path: str) -> sftp_source.Status | None:
        try:
            return _status(await self._client.stat(path))
        except asyncssh.SFTPNoSuchFile:
            return None

    async def content(self, path: str, most: int) -> tuple[bytes, sftp_source.Status | None]:
        try:
            file = await self._client.open(path, "rb")
        except asyncssh.SFTPNoSuchFile:
            return b"", None
        data = cast("bytes", await file.read(most))
        status = _status(await file.stat())
        await file.close()
        return data, status


def _status(attributes: asyncssh.SFTPAttrs) -> sftp_source.Status:
    """Return the size, time and type of a file. A server that does not know a type means a file."""
    mode = attributes.permissions
    is_file = stat.S_ISREG(mode) if mode is not None and stat.S_IFMT(mode) else True
    return sftp_source.Status(attributes.size or 0, attributes.mtime or 0, is_file=is_file)


@contextlib.contextmanager
def _failures(server: sftp_source.Server, name: str) -> Iterator[None]:
    """Turn what asyncssh raises into errors.SourceError."""
    place = f"{server.host}:{server.port}"
    try:
        yield
    except asyncssh.HostKeyNotVerifiable:
        message = f"the key of {place} is not in known_hosts_file, or is another one: nothing was sent to this server"
        raise fetching.failure(name, message, code="source_unauthorized") from None
    except (asyncssh.PermissionDenied, asyncssh.SFTPPermissionDenied):
        message = f"{place} refused access: check username, key or password, and the permissions of the file"
        raise fetching.failure(name, message, code="source_unauthorized") from None
    except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection):
        raise fetching.failure(name, _CUT_SHORT, code="source_incomplete") from None
    except asyncssh.SFTPError as error:
        message = f"the server answered with SFTP error {error.code}: check the path, or try again later"
        raise fetching.failure(name, message, code="source_incomplete") from None
    except (OSError, asyncssh.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it ended the connection"
        message = f"no connection could be made to {place} ({reason}): check host and port"
        raise fetching.failure(name, message, code="source_unreachable") from None
