"""Bounds the open connections: if there are too many, one of the address that has most of them is closed.

Invariant: a new connection is always accepted, so that a probe gets through however many connections others hold.
Neighbours: `server` adds every connection here and removes it when it is lost.
"""

import collections
from typing import Protocol


class Connection(Protocol):
    """An open connection."""

    def abort(self) -> None:
        """Close the connection at once."""
        ...


class ConnectionTable:
    """The open connections, the oldest first."""

    def __init__(self, *, max_connections: int) -> None:
        """Start without connections."""
        self._max_connections = max_connections
        self._addresses: dict[Connection, str] = {}

    def add(self, connection: Connection, address: str) -> None:
        """Add a new connection, and abort another one if there are too many now."""
        self._addresses[connection] = address
        if len(self._addresses) > self._max_connections:
            displaced = self._oldest_of_busiest_address()
            self.remove(displaced)
            displaced.abort()

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._addresses.pop(connection, None)

    def _oldest_of_busiest_address(self) -> Connection:
        counts = collections.Counter(self._addresses.values())
        most = max(counts.values())
        return next(connection for connection, address in self._addresses.items() if counts[address] == most)
