"""What the kinds of sources have in common: they fetch documents, whole or not at all, and say what went wrong.

Invariant: what a `Fetcher` returns is whole. Whatever it cannot show to be whole is a SourceError.
Neighbours: `document_source` makes a source of a fetcher; one module for each kind has its fetcher.
"""

import dataclasses
from collections.abc import Iterable
from typing import Literal, Protocol

from worker.core.model.errors import SourceError
from worker.core.model.problem import Problem
from worker.core.model.secret import redact
from worker.sources import positions

Code = Literal[
    "source_unreachable",
    "source_unauthorized",
    "source_incomplete",
    "source_stale",
    "source_changed",
    "source_timeout",
    "source_too_large",
    "source_invalid",
    "source_empty",
]
"""The codes of everything that can be wrong with a source."""

MAX_CLOCK_SKEW_SECONDS = 300.0
"""How far the clock of a source may be ahead of ours. A change dated later than that has a wrong time."""

HIDDEN = (".", "~$")
"""How the names of files begin that are no documents. Excel writes `~$a.xlsx` while `a.xlsx` is open."""

WILDCARDS = frozenset("*?[")
"""What makes a pattern of the name of a remote file."""

MAX_MANIFEST_BYTES = 1024 * 1024
"""The size of the largest manifest that is fetched."""

_SHORTEST_SECRET = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One document of a source, complete.

    `name` begins the places in it. `suffix`, in lower case and with its dot, and `media_type` decide the format if
    the settings do not. `modified` is the time of the last change in seconds since the epoch, if the source knows it.
    `hint` is what the operator should also know if the document is invalid. `secrets` are in no message about it.
    """

    name: str
    data: bytes = dataclasses.field(repr=False)
    suffix: str = ""
    media_type: str = ""
    modified: float | None = None
    manifest: bytes | None = dataclasses.field(default=None, repr=False)
    hint: str = ""
    secrets: tuple[str, ...] = dataclasses.field(default=(), repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """All documents of a source, as they were at one moment.

    `version` is their place in a history of versions, if there is one: see `source_history.Versioned`.

    `revision` identifies this version of them; empty: the hash of their content does. `proof` says in one word by what
    the transfer shows that no byte is missing, such as `length`; empty if by nothing.
    """

    documents: tuple[Document, ...]
    revision: str = ""
    proof: str = ""
    version: str = ""


class Fetcher(Protocol):
    """Fetches the documents of one source."""

    async def fetch(self) -> Fetched:
        """Return every document, whole; raise `errors.SourceError` otherwise."""
        ...

    async def peek(self) -> str | None:
        """Return an opaque revision, or None; see `ports.Source.peek`."""
        ...


def failure(name: str, message: str, *, code: Code = "source_invalid") -> SourceError:
    """Return the error of one document or source. `message` says what to do; a secret key in it is masked."""
    return SourceError([Problem(name, redact(message))], code=code)


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return a message without secrets, and without the beginning of one where a quotation was shortened.

    Texts of fewer than four characters are not masked: they are no secrets, and would garble the message.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "[secret]")
            for length in range(len(secret) - 1, 0, -1):
                text = text.replace(f"{secret[:length]}…", "[secret]…")
    return text


def too_large(name: str, what: str = "the document") -> SourceError:
    """Return the error of a document with more than `positions.MAX_BYTES`."""
    return failure(name, f"{what} is larger than {positions.MAX_BYTES >> 20} MiB: split it", code="source_too_large")
