"""The accounts of a cluster as commands reach them: finds the database, connects to it, and reads settings from it.

Invariant: a command makes the tables of an empty database, and never upgrades those of an older version, which workers
may be using. Neighbours: `accounts.registry` is the table, `settings.account_folder` says what
its settings mean.
"""

import contextlib
import pathlib
from collections.abc import Iterator

from worker import logs
from worker.accounts import registry
from worker.core.model.account_files import Scan
from worker.core.model.errors import JournalError, SettingsError
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret, position_of_key
from worker.journal import address as addresses
from worker.journal import connection, migrations
from worker.settings import account_folder, loader, model, secrets
from worker.sources import positions

_ADD_AGAIN = "Correct the file or its name, then add it again."


class Cluster:
    """A cluster as `_defaults.toml` of a folder describes it. Every method blocks.

    `url` is the address of its database, which may contain a password, `settings` are those of `[cluster]`, and
    `status` says how a worker serves its page.
    """

    def __init__(
        self, folder: pathlib.Path, defaults: account_folder.Defaults, settings: account_folder.Cluster
    ) -> None:
        """Take the folder to which paths are relative, and its defaults. Raises errors.SettingsError."""
        self.url = secrets.database_address(settings, folder).reveal()
        logs.hide(*map(Secret, addresses.passwords(self.url)))
        self.settings = settings
        self.status = defaults.status
        self._defaults = defaults
        self._folder = folder

    def scan(self) -> Scan:
        """Return what differs once `_defaults.toml` has been written; empty without it. Raises errors.SettingsError."""
        found = account_folder.scan(self._folder)
        return {name: found[name] for name in (account_folder.DEFAULTS,) if name in found}

    @contextlib.contextmanager
    def table(self) -> Iterator[registry.Registry]:
        """Connect to the table of accounts for the block; it is made if it is missing. Raises errors.JournalError."""
        database = connection.connect(addresses.parse(self.url))
        with contextlib.closing(database):
            found = migrations.version(database)
            if found is None:
                migrations.migrate(database)
            elif found < migrations.NEWEST:
                raise JournalError(
                    f"the database {database.address.shown} was made by an older version of fleet-sync",
                    code="journal_older",
                    remedy="The next `fleet-sync worker` upgrades it.",
                )
            yield registry.Registry(database)

    def validated(self, name: str, written: bytes, *, shown: str = "") -> model.Settings:
        """Return the settings of an account; messages name the file as `shown`.

        Raises errors.SettingsError with every problem.
        """
        layer = loader.parse(shown or f"{name}.toml", written)
        return account_folder.of_cluster(name, layer, folder=self._folder, defaults=self._defaults, database=self.url)

    def names(self) -> list[str]:
        """Return the names of the accounts in order. Raises errors.JournalError."""
        with self.table() as found:
            return [each.name for each in found.accounts()]

    def account(self, name: str) -> model.Settings:
        """Return the settings of an account in the table.

        Raises errors.SettingsError, errors.UnknownAccount or errors.JournalError.
        """
        with self.table() as found:
            written = found.settings(name)
        return self.validated(name, written)

    def add(self, name: str, path: pathlib.Path, *, replace: bool) -> registry.Added:
        """Add an account whose settings are in a file, or replace its settings.

        Raises errors.SettingsError, errors.AccountExists or errors.JournalError.
        """
        if loader.is_missing(path):
            raise SettingsError([Problem(str(path), "settings file not found")], remedy=_ADD_AGAIN)
        written = loader.read_bytes(path)
        try:
            settings = self.validated(name, written, shown=str(path))
        except SettingsError as error:
            remedy = _ADD_AGAIN if error.remedy == SettingsError.remedy else error.remedy
            raise SettingsError(error.problems, remedy=remedy) from None
        text = positions.decode(written)  # the database has text, which a file in UTF-16 is not yet
        _require_no_key(text, shown=str(path))
        with self.table() as found:
            self._require_own_variable(name, settings, found)
            return found.add(name, text.encode(), replace=replace)

    def _require_own_variable(self, name: str, settings: model.Settings, found: registry.Registry) -> None:
        """Raise errors.SettingsError if the variable with the key is also that of another account."""
        variable = account_folder.key_variable(name)
        if settings.key_place is None or settings.key_place.variable != variable:
            return
        for other in found.accounts():
            if other.name != name and account_folder.key_variable(other.name) == variable:
                problem = Problem(name, f"the account {other.name} has the same variable for its key, {variable}")
                raise SettingsError([problem], remedy="Give the account another name.")


def _require_no_key(text: str, *, shown: str) -> None:
    """Raise errors.SettingsError for a file with a key, even in a comment: every copy of the database would have it."""
    for number, line in enumerate(text.splitlines(), 1):
        if (column := position_of_key(line)) is not None:
            problem = Problem(f"{shown}:{number}:{column + 1}", "this looks like a secret key: remove it from the file")
            raise SettingsError([problem], remedy="The settings of a cluster's account are stored in its database.")


def cluster(folder: pathlib.Path) -> Cluster:
    """Return the cluster of a folder. Raises errors.SettingsError if it has none."""
    defaults = account_folder.read_defaults(folder)
    if defaults.cluster is None:
        problem = Problem(str(folder / account_folder.DEFAULTS), "it has no section [cluster]")
        raise SettingsError([problem], remedy="Name the database of the cluster in [cluster].")
    return Cluster(folder, defaults, defaults.cluster)
