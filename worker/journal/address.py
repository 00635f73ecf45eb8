"""Parses the URL of a journal.

Invariant: `shown` never contains any part of a password. Neighbours: `settings.urls` checks the URL first,
`connection` connects to it.
"""

import dataclasses
import pathlib
from urllib import parse as urls

from worker.core.model.errors import JournalError

_SQLITE = "sqlite:///"


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """The place of a journal: `path` is the file of an SQLite journal, `None` for PostgreSQL."""

    url: str = dataclasses.field(repr=False)
    shown: str
    path: pathlib.Path | None


def parse(url: str) -> Address:
    """Parse `sqlite:///` and a path, or `postgresql://…`. Raises errors.JournalError."""
    if url.startswith(_SQLITE):
        # Two names of one file must lead to one lock file.
        path = pathlib.Path(url.removeprefix(_SQLITE)).resolve()
        return Address(url=url, shown=str(path), path=path)
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgresql+psycopg"):
        raise JournalError(
            "the journal's URL begins with neither sqlite:/// nor postgresql://", remedy="Correct `[journal] url`."
        )
    try:
        shown = _shown(rest)
    except ValueError:
        # The cause is not shown: it may quote the password.
        raise JournalError(
            "the journal's URL is malformed", remedy="Write `[journal] url` like postgresql://user@host/database."
        ) from None
    return Address(url=f"postgresql://{rest}", shown=shown, path=None)


def passwords(url: str) -> list[str]:
    """Return the passwords in the URL of a database as they are written there: libpq takes them in options too."""
    if url.startswith(_SQLITE):
        return []
    try:
        split = urls.urlsplit(url)
    except ValueError:
        return []  # `parse` refuses it, and repeats nothing of it
    options = [option.partition("=") for option in split.query.split("&")]
    found = [split.password or "", *(written for key, _, written in options if "password" in urls.unquote(key))]
    return [password for password in found if password]


def _shown(rest: str) -> str:
    """Return the URL without password and options. Raises ValueError if it is malformed."""
    split = urls.urlsplit(f"//{rest}")
    login, _, host = split.netloc.rpartition("@")
    if "@" in login or "@" in split.path:
        raise JournalError(
            "the password in the journal's URL contains reserved characters",
            remedy="Write @ as %40, / as %2F and : as %3A in the password of `[journal] url`.",
        )
    if "," not in host and split.port == 0:  # reading `port` raises ValueError unless it is a number
        raise ValueError("port 0")
    user = login.partition(":")[0]
    return f"postgresql://{user}{'@' if user else ''}{host}{split.path}"
