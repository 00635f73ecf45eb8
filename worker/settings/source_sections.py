"""The `[[sources]]` of the settings file: where desired state comes from, how it is read, and how it proves complete.

Invariant: whatever contradicts itself is refused here, before a source is read. Neighbours: `model` has the other
sections, `source_kinds` the kinds of sources; `worker.sources` reads them.
"""

import abc
import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import pydantic

from worker.core.planning import references
from worker.settings import section
from worker.sources import row_mapping


def _template(text: str) -> str:
    if not text:
        raise ValueError("write a text with a column in braces, as in {Employee ID}")
    return row_mapping.check_template(text)


def _driver_template(text: str) -> str:
    if not row_mapping.has_column(_template(text)):
        raise ValueError("write a column in braces, as in {Employee ID}: otherwise every row has the same driver")
    return text


def _date_format(text: str) -> str:
    return row_mapping.check_date_format(text) if text else text


_OF_PYTHON = frozenset(
    {"idna", "mbcs", "oem", "palmos", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
)
"""Encodings of Python's own, which no document has. Some yield what is no text, or fail in ways of their own."""


def _encoding(name: str) -> str:
    try:
        codec = codecs.lookup("ascii" if name == "auto" else name)
        is_text = codec._is_text_encoding and codec.name not in _OF_PYTHON
    except (LookupError, ValueError):
        is_text = False
    if not is_text:
        raise ValueError('write "auto" or the name of an encoding, such as "cp1252"')
    return name


def _trailer(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        raise ValueError("write a regular expression, such as '^#END (?P<rows>\\d+)$'") from None
    return pattern


def _refuse_spaces(texts: Iterable[str]) -> None:
    """Raise ValueError for a text that no cell can equal: cells are read without the spaces around them."""
    if spaced := [text for text in texts if text != text.strip()]:
        raise ValueError(f'"{spaced[0]}" begins or ends with a space, so it equals no cell: remove the space')


def _filter(columns: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    first: dict[str, str] = {}
    for column, texts in columns.items():
        _refuse_spaces(texts)
        if (other := first.setdefault(row_mapping.fold(column), column)) != column:
            raise ValueError(f'"{other}" and "{column}" name the same column: write its values in one list')
    return columns


def _scope(fleets: Mapping[str, str]) -> Mapping[str, str]:
    _refuse_spaces(fleets)
    return fleets


Values = Annotated[tuple[str, ...], pydantic.Field(strict=False)]

_Fleet = Annotated[str, section.accepted_by(references.parse_fleet)]

_Scope = Annotated[Mapping[str, _Fleet], pydantic.Field(min_length=1), pydantic.AfterValidator(_scope)]

Timeout = Annotated[float, pydantic.Field(gt=0, le=3600)]
"""Seconds within which something has to end."""


class Rows(section.Section):
    """How the rows of a table become memberships. Absent: the table has our own columns."""

    driver: Annotated[str, pydantic.AfterValidator(_driver_template)] = pydantic.Field(
        description="The driver of a row: text with {columns}, as in employee_id={Employee ID}."
    )
    fleet: Annotated[str, pydantic.AfterValidator(_template)] = pydantic.Field(
        description="The fleet of a row: text with {columns}. It is looked up in [sources.fleets] if that is there."
    )
    starts: Annotated[str, pydantic.AfterValidator(row_mapping.check_template)] = pydantic.Field(
        default="", alias="from", description="The first moment of the membership, as in {Start}."
    )
    ends: Annotated[str, pydantic.AfterValidator(row_mapping.check_template)] = pydantic.Field(
        default="", alias="until", description="The first moment without the membership, as in {End}."
    )
    note: Annotated[str, pydantic.AfterValidator(row_mapping.check_template)] = pydantic.Field(
        default="", description="A note for people, as in {Cost centre}."
    )
    date_format: Annotated[str, pydantic.AfterValidator(_date_format)] = pydantic.Field(
        default="", description="How dates are written, as in %d.%m.%Y. Absent: 2026-12-31."
    )
    keep: Annotated[Mapping[str, Values], pydantic.AfterValidator(_filter)] = pydantic.Field(
        default={},
        description='Values of columns whose rows count, as in {Status = ["Active"]}; other rows are left out.',
    )
    drop: Annotated[Mapping[str, Values], pydantic.AfterValidator(_filter)] = pydantic.Field(
        default={},
        description="Values of columns whose rows are left out; other rows count. With keep, other values are errors.",
    )
    other_fleets: row_mapping.OtherFleets = pydantic.Field(
        default="error",
        description="What a row means whose fleet is not in [sources.fleets]: error, ignore it, or its fleet by_name.",
    )

    @pydantic.model_validator(mode="after")
    def _not_both(self) -> "Rows":
        drop = {row_mapping.fold(column): texts for column, texts in self.drop.items()}
        if both := [
            f'"{text}" of column "{column}"'
            for column, texts in self.keep.items()
            for text in sorted({*texts} & {*drop.get(row_mapping.fold(column), ())})
        ]:
            raise ValueError(f"{both[0]} is in both keep and drop: remove it from one of them")
        return self


class Completeness(section.Section):
    """How each document proves that nothing is missing. A source that does not ends the run without changes."""

    manifest: str = pydantic.Field(
        default="",
        description='File beside the document, as in "{path}.json", with {"rows": n, "sha256": "…"} or one of the two.',
    )
    trailer: Annotated[str, pydantic.AfterValidator(_trailer)] = pydantic.Field(
        default="",
        description="Regular expression of the last line; its group `rows` is the number of rows above.",
    )
    min_rows: int = pydantic.Field(default=1, ge=0, description="Fewest rows of the source, before any is left out.")
    max_shrink_fraction: float = pydantic.Field(
        default=0.10,
        ge=0,
        le=1,
        description="Fraction of its rows that the source may lose within guard.window_hours without approval. A loss "
        "of 1 or 2 rows is always allowed; 1 is no limit.",
    )
    max_age_hours: float | None = pydantic.Field(
        default=None, gt=0, description="Highest age of a document since its last change. Absent: no limit."
    )


class DocumentSource(section.Section):
    """What sources of every kind have in common. The class of each kind has a `kind` and an address of its own."""

    kind: str = pydantic.Field(description="Kind of source.")
    name: str = pydantic.Field(
        default="", description="Name of the source in reports, unique among the sources. Empty: its address."
    )
    poll_seconds: float = pydantic.Field(
        default=30, ge=0.01, le=86_400, description="Pause between two checks of the service for changes."
    )
    format: Literal["auto", "yaml", "json", "toml", "csv", "xlsx"] = pydantic.Field(
        default="auto", description="Format of the documents; auto goes by the ending of their names."
    )
    delimiter: Literal["auto", "comma", "semicolon", "tab"] = pydantic.Field(
        default="auto", description="What separates the columns of CSV; auto goes by the header."
    )
    encoding: Annotated[str, pydantic.AfterValidator(_encoding)] = pydantic.Field(
        default="auto", description="Encoding of the documents; auto is UTF-8, or UTF-16 with a byte order mark."
    )
    rows: Rows | None = pydantic.Field(default=None, description="How the rows of a table become memberships.")
    fleets: _Scope | None = pydantic.Field(
        default=None,
        description="The declared scope: what rows call a fleet, and its id or name. These fleets are managed even if "
        "no row names them.",
    )
    completeness: Completeness | None = pydantic.Field(
        default=None, description="How each document proves that nothing is missing."
    )

    @property
    @abc.abstractmethod
    def address(self) -> str:
        """Return where the source is, without anything secret."""

    @property
    def title(self) -> str:
        """Return the name of the source in reports."""
        return self.name or self.address

    @pydantic.model_validator(mode="after")
    def _scope_and_rows(self) -> "DocumentSource":
        if self.fleets is not None and self.rows is None:
            raise ValueError("[sources.fleets] needs [sources.rows]: say which column names the fleet")
        if self.fleets is None and self.rows is not None and "other_fleets" in self.rows.model_fields_set:
            raise ValueError("other_fleets needs [sources.fleets]: without it, every row names its fleet by id or name")
        return self


def refuse_checks(checks: Completeness | None, names: Sequence[str], why: str) -> None:
    """Raise ValueError with `why` if one of these checks is demanded."""
    if checks and any(getattr(checks, name) not in ("", None) for name in names):
        raise ValueError(why)


SUBSECTIONS: Mapping[str, type[section.Section]] = {"rows": Rows, "completeness": Completeness}
"""The class of each section below `[[sources]]` whose keys are known."""


def keys(described: type[section.Section]) -> dict[str, Any]:
    """Return the fields of a section by the names that the settings file uses."""
    return {field.alias or name: field for name, field in described.model_fields.items()}
