"""Checks that a document is complete: by a manifest beside it, a trailer at its end, or its number of rows.

Invariant: a document that was cut short anywhere fails a manifest or a trailer. A check that fails is an error of the
whole source, and never an absence of rows.
Neighbours: `document_reader` applies these checks; `file_source` reads manifests and checks the age.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection

from worker.sources import positions


@dataclasses.dataclass(frozen=True, slots=True)
class Completeness:
    """What a source must satisfy.

    `manifest` is the path of a file beside each document, whose path replaces `{path}`. `trailer` is a pattern that
    matches the last line; its group `rows`, if any, is the number of rows above.
    """

    manifest: str = ""
    trailer: str = ""
    min_rows: int = 1
    max_age_hours: float | None = None


MANIFEST, TRAILER, SYNTAX, MIN_ROWS, NONE = "manifest", "trailer", "syntax", "min_rows", "none"


def weakest(proofs: Collection[str], *, transfer: str, min_rows: int) -> str:
    """Return how a source was shown to be whole: by the weakest of what proves its documents.

    `proofs` are those of the documents themselves. Where they prove nothing, `transfer` may, as the kind of source
    calls it; and where that does not either, a number of rows above 1.
    """
    otherwise = transfer or (MIN_ROWS if min_rows > 1 else NONE)
    ranking = (NONE, MIN_ROWS, transfer, SYNTAX, TRAILER, MANIFEST)
    return min((otherwise if proof == NONE else proof for proof in proofs), key=ranking.index, default=NONE)


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says of its document: at least one of the two."""

    rows: int | None
    sha256: str | None


def parse_manifest(data: bytes) -> Manifest:
    """Parse `{"rows": 1200, "sha256": "…"}`; other keys are ignored. Raises Malformed."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        parsed = None
    rows, digest = (parsed.get("rows"), parsed.get("sha256")) if isinstance(parsed, dict) else (None, None)
    valid = (rows is None or type(rows) is int) and (digest is None or isinstance(digest, str))
    if not valid or (rows is None and digest is None):
        raise _incomplete('the manifest is not JSON like {"rows": 1200, "sha256": "…"}, with one of the two at least')
    return Manifest(rows, None if digest is None else digest.lower())


def check_digest(data: bytes, manifest: Manifest) -> None:
    """Raise Malformed if the manifest has another hash than the document."""
    if manifest.sha256 is not None and hashlib.sha256(data).hexdigest() != manifest.sha256:
        raise _incomplete("the document does not have the sha256 of its manifest: wait until both are written")


def check_last_line(text: str) -> None:
    """Raise Malformed if the last line does not end in a line break.

    A number of rows alone does not prove that the last row is whole: "Paris" cut to "Pari" is still one row.
    """
    if not text.endswith(("\n", "\r")):
        raise _incomplete("the last line has no line break at its end, so it may have been cut short")


def split_trailer(text: str, trailer: str) -> tuple[str, int | None]:
    """Remove the last line of a text; return the text above and the number of rows in that line, if it has one.

    Raises Malformed if the line does not match the trailer completely.
    """
    lines = text.rstrip("\r\n")
    start = max(lines.rfind("\n"), lines.rfind("\r")) + 1
    if not (found := re.fullmatch(trailer, lines[start:])):
        raise _incomplete("the last line is not the trailer: the document may have been cut short")
    rows = found.groupdict().get("rows")
    try:
        return lines[:start], None if rows is None else int(rows)
    except ValueError:
        raise _incomplete("the trailer's group `rows` is not a number") from None


def check_rows(count: int, expected: int | None, *, where: str) -> None:
    """Raise Malformed if a document has another number of rows than its manifest or trailer says."""
    if expected is not None and count != expected:
        raise _incomplete(f"{count} rows, but the {where} says {expected}")


def _incomplete(message: str) -> positions.Malformed:
    return positions.Malformed((1, 1), message, code="source_incomplete")
