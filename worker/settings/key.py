"""Finds the secret key of the account.

Invariant: the key never stands in the settings, and no part of it in a message.
Neighbours: `core.secret` holds it from here on; `token` and `hook` find lesser secrets.
"""

import pathlib
import re
from collections.abc import Mapping

from worker.core.model.errors import SettingsError
from worker.core.model.secret import KEY_PREFIX, Secret
from worker.settings import model, secret_file

VARIABLE = "CHARGE_API_KEY"
FILE_VARIABLE = "CHARGE_API_KEY_FILE"

_SETTING = "charge.api_key_file"
_REMEDY = f"Set {VARIABLE} to the secret key, or {FILE_VARIABLE} or {_SETTING} to the path of a file that holds it."
_USABLE = re.compile(r"[!-~]+")


def api_key(settings: model.Settings, environ: Mapping[str, str]) -> Secret:
    """Give the key of `CHARGE_API_KEY`, else of the file that `CHARGE_API_KEY_FILE` or `charge.api_key_file` names.

    What is set but unusable is an error; nothing further is tried then. Raises errors.SettingsError.
    """
    if VARIABLE in environ:
        return _checked(environ[VARIABLE], VARIABLE)
    if FILE_VARIABLE in environ:
        if not environ[FILE_VARIABLE]:
            raise _error(FILE_VARIABLE, "it is empty: set it to the path of a file, or unset it")
        return _of_file(pathlib.Path(environ[FILE_VARIABLE]), FILE_VARIABLE)
    if settings.charge.api_key_file:
        return _of_file(settings.located(settings.charge.api_key_file), _SETTING)
    raise _error(VARIABLE, "there is no secret key: set this variable, or name a file that holds the key")


def _of_file(path: pathlib.Path, where: str) -> Secret:
    if KEY_PREFIX in str(path):
        raise _error(where, "this is a key, and no path: write the key into a file, and its path here")
    text = secret_file.read(path, where=where, what="a key", shown=str(path), remedy=_REMEDY)
    return _checked(text, f"{where} ({path})")


def _checked(text: str, where: str) -> Secret:
    key = text.strip()
    if not key:
        raise _error(where, "the key is empty: write the secret key, or remove this to use another place")
    if not _USABLE.fullmatch(key):
        raise _error(where, "the key holds a space or a character that no key has: copy it once more")
    return Secret(key)


def _error(where: str, message: str) -> SettingsError:
    return secret_file.failure(where, message, remedy=_REMEDY)
