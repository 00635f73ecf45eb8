"""Reads the API key again after a 401, once a run: keys may be rotated while the service runs.

Invariant: a key of another mode is never used: it would send the plan for one account to another. Neighbours: `client`
asks for the renewal, `transport` uses the key, `settings.secrets` finds it.
"""

from collections.abc import Callable

import anyio
import structlog
from anyio import to_thread

from worker.charge import transport
from worker.core.model.errors import SettingsError
from worker.core.model.secret import Secret

log = structlog.get_logger()


class KeyRenewal:
    """Replaces the key of a transport. To be created inside the event loop."""

    def __init__(self, http: transport.Transport, *, read_key: Callable[[], Secret]) -> None:
        """Read nothing yet. `read_key` may block, and raises errors.SettingsError."""
        self._http = http
        self._read_key = read_key
        self._lock = anyio.Lock()
        self._available = True

    def begin_run(self) -> None:
        """Allow the key to be read again once."""
        self._available = True

    async def renew(self, rejected: Secret) -> bool:
        """Return whether the transport has another key than the rejected one, reading it again if that is allowed."""
        async with self._lock:  # of many requests rejected at once, the first reads the key and the others wait
            if self._http.key != rejected:
                return True
            if not self._available:
                return False
            self._available = False
            try:
                key = await to_thread.run_sync(self._read_key, abandon_on_cancel=True)
            except SettingsError as error:
                log.warning("key_unreadable", error=error.message)
                return False
            if key == rejected or key.mode != rejected.mode:
                return False
            self._http.use_key(key)
            log.info("key_renewed")
            return True
