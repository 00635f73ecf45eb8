"""Reads one document of any format: decodes it, parses it, interprets it, and checks that it is complete.

Invariant: pure. The same bytes and options always give the same contents or problems.
Neighbours: `document_source` passes on the bytes that were fetched; `formats`, `membership_document`, `table_reader`
and `completeness` do the work. Each format is imported when a document needs it.
"""

import dataclasses
import datetime
from typing import Literal

from worker.core.model import rows
from worker.sources import completeness, membership_document, positions, row_mapping, table_reader

Format = Literal["auto", "yaml", "json", "toml", "csv", "xlsx"]

SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml", ".csv": "csv", ".xlsx": "xlsx"}
"""The format of each file name's ending."""

MEDIA_TYPES = {
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
    "text/x-yaml": "yaml",
    "application/json": "json",
    "text/json": "json",
    "application/toml": "toml",
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
"""The format of each media type, as a Content-Type names it."""

_CLOSED_FORMATS = frozenset({"json", "xlsx"})
"""No beginning of such a document is a document."""

ENCODING_ADVICE = 'save the document as UTF-8, or name the encoding of the source, as in encoding = "cp1252"'
_UNKNOWN_FORMAT = "neither its name nor its Content-Type says which format this is: set the source's format"
_LFS_POINTER = b"version https://git-lfs"
_IN_LFS = "a Git LFS pointer, not the document: commit the document itself, or run `git lfs pull` where a file is read"
_NOT_A_TABLE = "[sources.rows] reads tables: save the document as CSV or xlsx, or remove that section"


@dataclasses.dataclass(frozen=True, slots=True)
class DocumentOptions:
    """How the documents of a source are read. `zone` is that of dates without a time; None: that of their fleet."""

    format: Format = "auto"
    delimiter: str = "auto"
    encoding: str = "auto"
    rows: row_mapping.RowMapping | None = None
    checks: completeness.Completeness | None = None
    zone: datetime.tzinfo | None = datetime.UTC


def read(
    name: str,
    suffix: str,
    data: bytes,
    options: DocumentOptions,
    *,
    media_type: str = "",
    manifest: bytes | None = None,
) -> membership_document.Contents:
    """Return the contents of a document.

    The format "auto" goes by `suffix`, the ending of its name, or else by `media_type`.
    """
    try:
        if data.startswith(_LFS_POINTER):
            raise positions.Malformed((1, 1), _IN_LFS)
        document_format = _format(suffix, media_type) if options.format == "auto" else options.format
        return _read(name, document_format, data, options, manifest)
    except positions.Malformed as malformed:
        problems = [(malformed.place, malformed.message)]
        return membership_document.contents(name, problems=problems, code=malformed.code)


def _format(suffix: str, media_type: str) -> str:
    essence = media_type.partition(";")[0].strip().lower()
    found = SUFFIXES.get(suffix) or MEDIA_TYPES.get(essence) or ("json" if essence.endswith("+json") else "")
    if not found:
        raise positions.Malformed((1, 1), _UNKNOWN_FORMAT)
    return found


def _read(
    name: str, document_format: str, data: bytes, options: DocumentOptions, manifest: bytes | None
) -> membership_document.Contents:
    says = None if manifest is None else completeness.parse_manifest(manifest)
    if says:
        completeness.check_digest(data, says)
    if document_format == "xlsx":
        contents = _read_workbook(name, data, options)
    else:
        contents = _read_text(
            name, document_format, data, options, needs_last_line=says is not None and not says.sha256
        )
    if says and not contents.problems:
        completeness.check_rows(contents.count, says.rows, where="manifest")
    return dataclasses.replace(contents, proof=_proof(document_format, options, has_manifest=says is not None))


def _proof(document_format: str, options: DocumentOptions, *, has_manifest: bool) -> str:
    """Return the strongest of what shows that a document was read to its end."""
    if has_manifest:
        return completeness.MANIFEST
    if options.checks and options.checks.trailer:
        return completeness.TRAILER
    return completeness.SYNTAX if document_format in _CLOSED_FORMATS else completeness.NONE


def _read_workbook(name: str, data: bytes, options: DocumentOptions) -> membership_document.Contents:
    from worker.sources.formats import xlsx_format

    positions.check_size(data)
    if options.checks and options.checks.trailer:
        raise positions.Malformed((1, 1), "a trailer is a line of text: use a manifest to prove a workbook")
    parsed = xlsx_format.parse(
        data,
        used=table_reader.used_columns(options.rows),
        references=table_reader.reference_columns(options.rows),
        date_format=options.rows.date_format if options.rows else "",
    )
    return table_reader.read(parsed, options.rows, name, zone=options.zone)


def _read_text(
    name: str, document_format: str, data: bytes, options: DocumentOptions, *, needs_last_line: bool
) -> membership_document.Contents:
    try:
        text = positions.decode(data, encoding=options.encoding, advice=ENCODING_ADVICE)
    except positions.Malformed as malformed:
        if malformed.code != positions.INVALID or document_format != "csv" or b"\0" in data:
            raise
        return _undecodable(name, data, options, malformed)
    if not text.strip():
        raise positions.Malformed((1, 1), positions.EMPTY, code="source_empty")
    if needs_last_line and document_format != "json":
        completeness.check_last_line(text)
    expected = None
    if options.checks and options.checks.trailer:
        text, expected = completeness.split_trailer(text, options.checks.trailer)
    contents = _interpret(name, document_format, text, options)
    if not contents.problems:
        completeness.check_rows(contents.count, expected, where="trailer")
    return contents


def _undecodable(
    name: str, data: bytes, options: DocumentOptions, malformed: positions.Malformed
) -> membership_document.Contents:
    """Return the problems of a table that cannot be decoded: this one, and those of its readable rows."""
    problem = membership_document.problem(name, malformed.place, malformed.message)
    is_utf8 = options.encoding == "auto" or positions.is_mistaken_utf8(data, options.encoding)
    encoding = "utf-8" if is_utf8 else options.encoding
    text = data.decode(encoding, errors="replace").removeprefix("\ufeff")
    problems = _interpret(name, "csv", text, options).problems
    return membership_document.Contents((), rows.Rows(), (problem, *problems))


def _interpret(name: str, document_format: str, text: str, options: DocumentOptions) -> membership_document.Contents:
    if document_format == "csv":
        from worker.sources.formats import csv_format

        required = table_reader.required_columns(options.rows)
        parsed = csv_format.parse(text, required=required, delimiter=options.delimiter)
        return table_reader.read(parsed, options.rows, name, zone=options.zone)
    if options.rows:
        raise positions.Malformed((1, 1), _NOT_A_TABLE)
    return membership_document.read(_parse(document_format, text, options.zone), name, zone=options.zone)


def _parse(document_format: str, text: str, zone: datetime.tzinfo | None) -> positions.Document:
    match document_format:
        case "yaml":
            from worker.sources import row_packing
            from worker.sources.formats import yaml_format

            return yaml_format.parse(text, pack=row_packing.Packer(zone))
        case "json":
            from worker.sources import row_packing
            from worker.sources.formats import json_format

            return json_format.parse(text, pack=row_packing.Packer(zone))
        case _:
            from worker.sources.formats import toml_format

            return toml_format.parse(text, texts=True)
