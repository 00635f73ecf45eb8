"""A real PgBouncer in transaction mode before a PostgreSQL server, for tests with the marker `real`.

Invariant: it listens on a socket in a folder of its own only, and is gone when the block ends. Neighbours:
`tests.journal.postgres` is the server.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.journal import postgres

PROGRAM = pathlib.Path(shutil.which("pgbouncer") or "/usr/sbin/pgbouncer")

_CONFIGURATION = """[databases]
* = host={server}
[pgbouncer]
unix_socket_dir = {folder}
listen_port = 5432
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 200
logfile = {folder}/log
"""


def require() -> None:
    """Skip the test where PgBouncer is missing; fail it with FLEET_SYNC_TEST_TOOLS=required, as in CI."""
    if not PROGRAM.exists():
        if os.environ.get("FLEET_SYNC_TEST_TOOLS") == "required":
            pytest.fail("PgBouncer is not installed")
        pytest.skip("PgBouncer is not installed")


@contextlib.contextmanager
def running(server: str, *, sessions: int) -> Iterator[str]:
    """Stand before the server with this folder, on which all clients share so many sessions; yield the own folder."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fleet-sync-pgbouncer-"))
    try:
        (folder / "users").write_text('"postgres" ""\n')
        (folder / "ini").write_text(_CONFIGURATION.format(server=server, folder=folder, sessions=sessions))
        account: dict[str, Any] = {}
        if os.geteuid() == 0:  # it refuses to be root
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        command: list[str | pathlib.Path] = [PROGRAM, "-q", folder / "ini"]
        with subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, **account) as process:
            try:
                postgres.wait(process, folder)
                yield str(folder)
            finally:
                process.kill()
    finally:
        shutil.rmtree(folder)
