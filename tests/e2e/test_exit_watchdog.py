"""A process whose work is done ends, even if a thread hangs."""

import pathlib
import subprocess
import sys

STUCK = """
import socket, sys, threading
socket.getaddrinfo = lambda *arguments, **options: threading.Event().wait()
sys.argv = ["fleet-sync", *sys.argv[1:]]
from worker.cli.main import main
main()
"""


def test_a_resolver_that_never_answers_does_not_keep_the_process(tmp_path: pathlib.Path) -> None:
    """The name cannot be resolved locally, and a thread that waits for the resolver cannot be cancelled."""
    settings = tmp_path / "stuck.toml"
    settings.write_text(
        '[charge]\nbase_url = "https://charge.invalid/v1"\ntimeout_seconds = 0.2\n[retry]\nmax_attempts = 1\n'
        '[[sources]]\npath = "membership.yaml"\n'
    )
    (tmp_path / "membership.yaml").write_text("fleets:\n  Paris vans: [alice@example.com]\n")
    program = [sys.executable, "-c", STUCK, "--config", str(settings), "once"]
    ended = subprocess.run(
        program, capture_output=True, text=True, check=False, timeout=60, env={"CHARGE_API_KEY": "k"}
    )
    assert ended.returncode == 1
    assert "no connection to charge.invalid could be made (it took longer than 0.2 s)" in ended.stderr
