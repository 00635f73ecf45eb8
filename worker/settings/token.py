"""Finds the token that lets somebody ask the running service for something.

Invariant: without a token that is set and fit nobody may ask; no part of it stands in a message.
Neighbours: `key` finds the account's key in the same way, the `status` edge compares the token.
"""

import pathlib
import re
from collections.abc import Mapping

from worker.core.model.errors import SettingsError
from worker.core.model.secret import KEY_PREFIX, Secret
from worker.settings import secret_file

VARIABLE = "FLEET_SYNC_STATUS_TOKEN"
FILE_VARIABLE = "FLEET_SYNC_STATUS_TOKEN_FILE"

_REMEDY = (
    f"Set {VARIABLE} to a long random text, or {FILE_VARIABLE} to the path of a file that holds it, or unset both."
)
_USABLE = re.compile(r"[!-~]+")


def status_token(environ: Mapping[str, str]) -> Secret | None:
    """Give the token of `FLEET_SYNC_STATUS_TOKEN`, else of the file that `FLEET_SYNC_STATUS_TOKEN_FILE` names.

    `None` where neither is set to anything; what is set but unusable is an error. Raises errors.SettingsError.
    """
    if environ.get(VARIABLE):
        return _checked(environ[VARIABLE], VARIABLE)
    if not environ.get(FILE_VARIABLE):
        return None
    path = pathlib.Path(environ[FILE_VARIABLE])  # not shown: it may be a token by mistake
    text = secret_file.read(path, where=FILE_VARIABLE, what="a token", shown="that it names", remedy=_REMEDY)
    return _checked(text, FILE_VARIABLE)


def _checked(text: str, where: str) -> Secret:
    token = text.strip()
    if not token:
        raise _error(where, "the token is empty: make one with `openssl rand -hex 24`")
    if not _USABLE.fullmatch(token):
        raise _error(where, "the token holds a space or a character that no header may have: make another")
    if KEY_PREFIX in token:
        raise _error(where, "this is a Charge key, which opens nothing here: make a token of its own")
    return Secret(token)


def _error(where: str, message: str) -> SettingsError:
    return secret_file.failure(where, message, remedy=_REMEDY)
