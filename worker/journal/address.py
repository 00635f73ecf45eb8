"""Where a journal is: its address taken apart, and shown without a password.

Invariant: nothing of a password gets into `shown`. Neighbours: `settings.addresses` checks the address first; `sqlite`
and `database` connect to it.
"""

import dataclasses
import pathlib
from urllib import parse as urls

from worker.core.model.errors import JournalError

_SQLITE = "sqlite:///"


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """A journal's place: `path` is the file of an SQLite journal, `None` for PostgreSQL."""

    url: str = dataclasses.field(repr=False)
    shown: str
    path: pathlib.Path | None


def parse(url: str) -> Address:
    """Take an address apart: `sqlite:///` with a path, or `postgresql://…`. Raises errors.JournalError."""
    if url.startswith(_SQLITE):
        # Two names of one file must lead to one lock file.
        path = pathlib.Path(url.removeprefix(_SQLITE)).resolve()
        return Address(url=url, shown=str(path), path=path)
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgresql+psycopg"):
        raise JournalError(
            "the journal's address is neither sqlite:/// nor postgresql://", remedy="Correct `[journal] url`."
        )
    return Address(url=f"postgresql+psycopg://{rest}", shown=_shown(rest), path=None)


def _shown(rest: str) -> str:
    """Write the address without password and options."""
    split = urls.urlsplit(f"//{rest}")
    login, _, host = split.netloc.rpartition("@")
    if "@" in login or "@" in split.path:
        raise JournalError(
            "the password in the journal's address has characters of its own meaning",
            remedy="Write @ as %40, / as %2F and : as %3A in the password of `[journal] url`.",
        )
    user = login.partition(":")[0]
    return f"postgresql://{user}{'@' if user else ''}{host}{split.path}"
