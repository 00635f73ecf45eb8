"""Follows the `_defaults.toml` of a cluster: what it says of accounts counts from their next runs on.

Invariants: a changed file counts once two scans agree; one that is broken or gone is reported, and leaves the last
valid one in use. Neighbours: `cluster` reads the file, `cluster_worker` uses and shows this, `account_supervisor` does
the same for a folder.
"""

from collections.abc import Callable

import anyio
import structlog
from anyio import to_thread

from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem
from worker.service import cluster
from worker.settings import account_folder

log = structlog.get_logger()

CHECK_SECONDS = 1.5
"""Between two checks of the file: a change takes effect within 10 seconds."""


class ClusterDefaults:
    """What the file said when it was last valid, which is `found`, and what is wrong with it now."""

    def __init__(self, read: Callable[[], cluster.Cluster]) -> None:
        """Take what reads the file, and read it. Blocks. Raises errors.SettingsError."""
        self.found = self._started = read()
        self.error = ""
        self._read = read
        self._broken = False
        self._used = self._seen = self._started.scan()

    async def follow(self) -> None:
        """Check the file again and again."""
        while True:
            await anyio.sleep(CHECK_SECONDS)
            await self.check()

    async def check(self) -> None:
        """Read the file if it has changed and stays the same, or if it could not be read before."""
        try:
            before, self._seen = self._seen, await to_thread.run_sync(self._started.scan)
        except SettingsError as error:
            self._report_broken(error)
            return
        if self._seen != before:
            return
        if not self._seen:
            problem = Problem(account_folder.DEFAULTS, "the file is gone: its last valid content stays in use")
            self._report_broken(SettingsError([problem], remedy="Restore it."))
        elif self._broken or self._seen != self._used:
            self._used = self._seen
            await self.read()

    async def read(self) -> None:
        """Read the file, whether or not it has changed; keep what it said last if that is invalid."""
        try:
            fresh = await to_thread.run_sync(self._read)
        except SettingsError as error:
            self._report_broken(error)
            return
        self.found, self._broken, self.error = fresh, False, ""
        log.info("settings_reloaded")
        if _of_process(fresh) != _of_process(self._started):
            problem = Problem(account_folder.DEFAULTS, "cluster or status has changed, but is read only at the start")
            self._report(SettingsError([problem], remedy="Restart the worker, or undo this change."))

    def _report_broken(self, error: SettingsError) -> None:
        self._broken = True
        self._report(error)

    def _report(self, error: SettingsError) -> None:
        """Log what is wrong, once, and keep it for the page."""
        if error.message != self.error:
            log.error("settings_broken", error=error.message, remedy=error.remedy)
        self.error = error.message


def _of_process(found: cluster.Cluster) -> tuple[object, ...]:
    """Return what is about the process and not about an account."""
    return found.url, found.settings, found.status
