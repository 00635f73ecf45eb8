"""Reads a secret from the file that holds it alone.

Invariant: nothing of the content is in a message. Neighbours: `key`, `token` and `hook` say what is to be found there.
"""

import pathlib
import stat

from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem

LONGEST = 4096
"""The longest secret there is, in bytes."""


def read(path: pathlib.Path, *, where: str, what: str, shown: str, remedy: str = "") -> str:
    """Give the file's text. Raises errors.SettingsError with the place `where` it was named.

    `what` is what the file should hold, `shown` its name in messages.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe may never end, or never begin
            raise failure(where, f"the file {shown} cannot be read (this is no file)", remedy=remedy)
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is no path"
        raise failure(where, f"the file {shown} cannot be read ({reason})", remedy=remedy) from None
    if len(data) > LONGEST:
        raise failure(where, f"the file {shown} holds more than {what}: write that alone into it", remedy=remedy)
    return data.decode("ascii", "replace")


def failure(where: str, message: str, *, remedy: str = "") -> SettingsError:
    """Make the error of one secret, with its place."""
    return SettingsError([Problem(where, message)], remedy=remedy)
