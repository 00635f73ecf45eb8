"""Reads what the operator configures: the settings and secrets of one account, or of each account of a folder.

Invariant: every secret that is read is masked in the log from then on. Neighbours: `cli.run` says where to read,
`settings` validates, `account_service` takes the result.
"""

import pathlib
from collections.abc import Callable, Mapping

from worker import logs
from worker.core.model.account_files import Scan
from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.service import account_service
from worker.settings import account_folder, model, secrets


def operator(
    read_settings: Callable[[], model.Settings], environ: Mapping[str, str], *, adopt: bool = False
) -> account_service.Operator:
    """Return the current settings and secrets of an account. Raises errors.SettingsError if they are invalid."""
    settings = read_settings()
    found = account_service.Operator(
        settings=settings,
        credentials=secrets.credentials(settings, environ),
        token=status_token(environ),
        targets=secrets.notification_targets(settings),
        adopt_journal=adopt,
    )
    logs.hide(*found.credentials.secrets(), *(secret for target in found.targets for secret in target.secrets()))
    return found


def status_token(environ: Mapping[str, str]) -> Secret | None:
    """Return the token of the page, or None if none is set; the log hides it. Raises errors.SettingsError."""
    token = secrets.status_token(environ)
    if token is not None:
        logs.hide(token)
    return token


class FolderReader:
    """Reads a folder of accounts. Every method blocks."""

    def __init__(self, folder: pathlib.Path, environ: Mapping[str, str]) -> None:
        """Take the folder and the environment; `read_defaults` comes first."""
        self._folder = folder
        self._environ = environ
        self._defaults: account_folder.Defaults | None = None

    def scan(self) -> Scan:
        """Return the files of the folder. Raises errors.SettingsError if it cannot be read."""
        return account_folder.scan(self._folder)

    def read_defaults(self) -> model.Status:
        """Read what is beneath every account, and return how the page is served. Raises errors.SettingsError.

        After an error the last valid defaults stay in use.
        """
        found = account_folder.read_defaults(self._folder)
        if found.cluster is not None:
            place = found.layer.at(("cluster",))
            problem = Problem(place, "the accounts of a cluster are in its database, not in the folder")
            raise SettingsError([problem], remedy="Run `fleet-sync worker` for a cluster.")
        self._defaults = found
        return found.status

    def token(self) -> Secret | None:
        """Return the token of the page, or None if none is set. Raises errors.SettingsError."""
        return status_token(self._environ)

    def read(self, name: str) -> account_service.Operator:
        """Return what is configured for an account. Raises errors.SettingsError if that is invalid."""
        defaults = self._defaults or account_folder.read_defaults(self._folder)
        return operator(lambda: account_folder.load(self._folder, name, defaults), self._environ)
