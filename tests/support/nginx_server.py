"""A real nginx on a free port of loopback, for tests with the marker `real` and for benchmarks.

Invariant: it is a child of ours and is gone when the block ends. Neighbours: the caller writes the lines of the
`server` block, and puts the files to serve into `www`.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

PROGRAM = pathlib.Path(shutil.which("nginx") or "/usr/sbin/nginx")
PATIENT = 60.0

_CONFIGURATION = """daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
{user}
events {{}}
http {{
  access_log off; default_type application/octet-stream; keepalive_requests 1000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {http}
  server {{
    listen 127.0.0.1:{port}{tls}; root {folder}/www;
    {server}
  }}
}}
"""


def require() -> None:
    """Skip the test where nginx is missing; fail it with FLEET_SYNC_TEST_TOOLS=required, as in CI."""
    if not PROGRAM.exists():
        if os.environ.get("FLEET_SYNC_TEST_TOOLS") == "required":
            pytest.fail("nginx is not installed")
        pytest.skip("nginx is not installed")


@contextlib.contextmanager
def running(folder: pathlib.Path, *, server: str, http: str = "", tls: str = "") -> Iterator[int]:
    """Serve `folder`/www; `server` and `http` are lines of configuration for these blocks. Yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""
    lines = _CONFIGURATION.format(folder=folder, port=port, user=user, http=http, server=server, tls=tls)
    (folder / "nginx.conf").write_text(lines)
    with subprocess.Popen([PROGRAM, "-p", str(folder), "-c", str(folder / "nginx.conf")]) as process:
        try:
            _wait(port, process)
            yield port
        finally:
            process.terminate()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
    raise RuntimeError("nginx does not listen")
