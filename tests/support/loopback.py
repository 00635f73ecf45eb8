"""Keeps tests, and the commands they start, on this machine.

Invariant: whatever a test sets, nothing reaches the real Charge. Names in `.test` and `.invalid` belong to nobody.
Neighbours: `conftest` and `fork_server` install it.
"""

import ipaddress
import socket
from typing import Any

NOBODYS = (".test", ".invalid")


class LeftLoopback(BaseException):
    """A socket would leave this machine. No code of the program may take that for a network that is down."""


def install() -> None:
    """Raise LeftLoopback where a socket of this process would leave loopback."""
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        _check(host)
        return resolve(host, *arguments, **options)

    def connected(self: Any, address: Any) -> None:
        if isinstance(address, tuple):
            _check(address[0])
        connect(self, address)

    socket.getaddrinfo = getaddrinfo
    socket.socket.connect = connected  # type: ignore[method-assign]


def _check(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name is not None and name != "localhost" and not name.endswith(NOBODYS) and not _is_loopback(name):
        raise LeftLoopback(f"a test would reach {name}: it may reach loopback only")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
