"""An imitation of the directory, for tests.

Invariant: it listens on loopback only, and its threads end with the block that serves it.
"""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator, Sequence
from urllib import parse

TOKEN = "token-of-the-imitation"  # noqa: S105 - it protects nothing

_PAGE = 2


class Directory:
    """What the directory contains, and how it answers.

    `groups` has the members of each group: e-mail addresses, or ids of groups. `cut` is the number of the request
    whose reply is cut short, counted from 0; `lost` that of a listing that lacks its last member.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.groups: dict[str, Sequence[str]] = {}
        self.revision = 0
        self.cut: int | None = None
        self.lost: str = ""
        self.stalled = threading.Event()
        self.stopped = threading.Event()
        self.requests = 0

    def change(self, groups: dict[str, Sequence[str]]) -> None:
        """Replace all groups, and answer without faults from now on."""
        self.revision += groups != self.groups
        self.groups, self.cut, self.lost, self.requests = groups, None, "", 0
        self.stalled.clear()

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on a free port of 127.0.0.1, and yield the address."""
        directory = self

        class Handler(_Handler):
            served = directory

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                self.stopped.set()
                server.shutdown()
                thread.join()

    def reply(self, path: str) -> object:
        """Return the reply to a request, or None if there is no such thing."""
        split = parse.urlsplit(path)
        match split.path.strip("/").split("/"):
            case ["revision"]:
                return {"revision": str(self.revision)}
            case ["groups", group, "members"] if group in self.groups:
                return self._page(group, int(parse.parse_qs(split.query).get("after", ["0"])[0]))
        return None

    def _page(self, group: str, start: int) -> object:
        members = self.groups[group]
        listed = members[:-1] if group == self.lost else members
        end = start + _PAGE
        return {
            "members": [_member(name) for name in listed[start:end]],
            "total": len(members),
            "next": str(end) if end < len(listed) else None,
        }


def _member(name: str) -> dict[str, str]:
    if "@" in name:
        return {"type": "person", "id": f"per_{name}", "email": name}
    return {"type": "group", "id": name}


class _Handler(http.server.BaseHTTPRequestHandler):
    served: Directory

    def do_GET(self) -> None:
        """Answer one request."""
        directory = self.served
        number, directory.requests = directory.requests, directory.requests + 1
        if directory.stalled.is_set():
            directory.stopped.wait()
        reply = directory.reply(self.path)
        status = 404 if reply is None else 200
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status = 401
        body = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if number == directory.cut else body)

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""
