"""A terminal of 80 columns in which a command runs."""

import fcntl
import os
import pty
import struct
import termios

from tests.e2e import conftest
from tests.support import command

COLUMNS = 80


def on_terminal(workspace: conftest.Workspace, *arguments: str, rows: int = 40, **environ: str) -> tuple[int, str]:
    """Run a command on a terminal of 80 columns. Return its exit code and everything that the terminal received."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, COLUMNS, 0, 0))
    complete = {**workspace.folder.environ, "TERM": "xterm-256color", **environ}
    folder = workspace.folder.path
    running = command.start(*arguments, environ=complete, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side has been closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    return running.end().code, seen.decode()
