"""Reads the secrets that sources need from files, each time they are needed, so that they may change.

Invariant: no error contains anything of a secret, and no secret is a key of Charge. Neighbours: `http_login` and other
kinds of sources use it.
"""

import pathlib
import stat

from worker.core.model.secret import KEY_PREFIX, Secret
from worker.sources import fetching

MAX_BYTES = 16 * 1024
"""The size of the largest secret that is read."""


def read(path: pathlib.Path, *, name: str, setting: str) -> Secret:
    """Return the content of a file without the spaces and line breaks around it.

    `name` is the source, `setting` the key that names the file. Raises errors.SourceError.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could block forever
            raise _failure(name, f"{setting}: {path} is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid UTF-8 text, or not a valid path"
        raise _failure(name, f"{setting}: the file {path} cannot be read ({reason})") from None
    if len(data) > MAX_BYTES:
        raise _failure(name, f"{setting}: the file {path} contains more than a secret: write only that to it")
    if not text:
        raise _failure(name, f"{setting}: the file {path} is empty: write the secret to it")
    if KEY_PREFIX in text:
        raise _failure(name, f"{setting}: a Charge key must never be sent to another service: remove it from {path}")
    return Secret(text)


def _failure(name: str, message: str) -> Exception:
    return fetching.failure(name, message, code="source_unauthorized")
