"""The kinds of sources: the keys that each has of its own.

Invariant: a mistake is reported for the kind that the source names, and for no other. Neighbours: `network_kinds` has
the kinds that talk to another machine, `source_sections` the keys that all kinds share; `service.source_factory` makes
the sources.
"""

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pydantic
import pydantic_core

from worker.core.model.secret import KEY_PREFIX
from worker.settings import network_kinds, source_sections

if TYPE_CHECKING:
    from worker.sources import plugin

_Argv = Annotated[tuple[str, ...], pydantic.Field(strict=False)]


class FileSource(source_sections.DocumentSource):
    """A membership document, or a folder of them."""

    kind: Literal["file"] = pydantic.Field(default="file", description="Kind of source.")
    path: str = pydantic.Field(
        min_length=1, description="A .yaml, .yml, .json, .toml, .csv or .xlsx file, or a folder of them."
    )
    include: source_sections.Values = pydantic.Field(
        default=(), description='Patterns of the names in the folder that are read, as in ["*.csv"]. Empty: all.'
    )
    exclude: source_sections.Values = pydantic.Field(
        default=(), description="Patterns of the names in the folder that are not read."
    )
    settle_seconds: float = pydantic.Field(
        default=0, ge=0, le=86_400, description="A file that changed within this time counts as being written."
    )
    poll_seconds: float = pydantic.Field(
        default=2, ge=0.01, le=86_400, description="Pause between two checks of the service for changes."
    )

    @property
    def address(self) -> str:
        """Return the path as it is written."""
        return self.path


class CommandSource(source_sections.DocumentSource):
    """What a command prints."""

    kind: Literal["command"] = pydantic.Field(description="Kind of source.")
    run: _Argv = pydantic.Field(
        min_length=1, description="The command and its arguments; it prints the document. No shell is involved."
    )
    peek: _Argv = pydantic.Field(
        default=(),
        description="A quick command that prints a revision: a text that changes whenever the document does.",
    )
    timeout_seconds: source_sections.Timeout = pydantic.Field(
        default=60, description="How long a command may take; its processes are killed then."
    )
    env: Mapping[str, str] = pydantic.Field(
        default={}, description='Variables to add to the environment, as in {LANG = "C.UTF-8"}. Never a Charge key.'
    )

    @pydantic.field_validator("env")
    @classmethod
    def _valid_variables(cls, env: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in env.items():
            if not name or "=" in name:
                raise ValueError("write the name of a variable without =")
            if KEY_PREFIX in text:
                raise ValueError("a Charge key must never be given to another program")
        return env

    @pydantic.model_validator(mode="after")
    def _provable(self) -> "CommandSource":
        why = "a command's output has no file beside it and no age: use a trailer or min_rows"
        source_sections.refuse_checks(self.completeness, ("manifest", "max_age_hours"), why)
        return self

    @property
    def address(self) -> str:
        """Return the name of the program. Its arguments may contain a secret."""
        return pathlib.PurePath(self.run[0]).name


class SqlSource(source_sections.DocumentSource):
    """The rows of a query."""

    kind: Literal["sql"] = pydantic.Field(description="Kind of source.")
    url_file: str = pydantic.Field(
        min_length=1, description="File with the address of the database: postgresql://… or sqlite:///PATH."
    )
    query: str = pydantic.Field(
        min_length=1, description="One SELECT, whose columns are those of a table, or of [sources.rows]."
    )
    revision_query: str = pydantic.Field(
        default="", description="A quick SELECT whose result changes whenever the rows do."
    )
    statement_timeout_seconds: source_sections.Timeout = pydantic.Field(
        default=60, description="How long a query may take with all of its rows."
    )

    @pydantic.model_validator(mode="after")
    def _no_document(self) -> "SqlSource":
        if (self.format, self.delimiter, self.encoding) != ("auto", "auto", "auto"):
            raise ValueError("rows of a database have neither format, delimiter nor encoding: remove them")
        why = "a query has no manifest, trailer or age; its transaction proves that it is complete"
        source_sections.refuse_checks(self.completeness, ("manifest", "trailer", "max_age_hours"), why)
        return self

    @property
    def address(self) -> str:
        """Return the path of the file with the address, which is a secret itself."""
        return self.url_file


KINDS: Mapping[str, type[source_sections.DocumentSource]] = {
    "file": FileSource,
    "http": network_kinds.HttpSource,
    "sftp": network_kinds.SftpSource,
    "object": network_kinds.ObjectSource,
    "command": CommandSource,
    "sql": SqlSource,
    "git": network_kinds.GitSource,
}
"""The class of each built-in kind of source."""


class PluginSource(source_sections.DocumentSource):
    """A source of a kind that a plugin adds. It also has the keys of that kind."""

    model_config = pydantic.ConfigDict(json_schema_extra={"additionalProperties": True})

    kind: str = pydantic.Field(description="Kind of source.", json_schema_extra={"not": {"enum": [*KINDS]}})

    plugin_kind: ClassVar["plugin.AnyKind"]

    @property
    def address(self) -> str:
        """Return what the plugin says."""
        return str(self.plugin_kind.address(self))


Kinds = Mapping[str, type[source_sections.DocumentSource]]


def plugin_source(name: str, kind: "plugin.AnyKind") -> type[PluginSource]:
    """Return the class of the sources of a plugin's kind. Raises ValueError if one of its keys is one of ours."""
    if ours := sorted({*kind.settings.model_fields} & {*PluginSource.model_fields}):
        raise ValueError(f'its kind "{name}" has a key "{ours[0]}", which all kinds have')
    made = pydantic.create_model(name, __base__=(PluginSource, kind.settings))
    made.plugin_kind = kind
    return made


def section_of(source: object, kinds: Kinds) -> type[source_sections.DocumentSource] | None:
    """Return the class of a source as the settings file writes it, or None if there is no such kind."""
    kind = source.get("kind", "file") if isinstance(source, dict) else "file"
    return kinds.get(kind) if isinstance(kind, str) else None


def _by_kind(source: Any, info: pydantic.ValidationInfo) -> Any:
    """Validate one source as its kind. A union would report the mistakes of every kind."""
    kinds: Kinds = info.context["kinds"] if info.context else KINDS
    if described := section_of(source, kinds):
        return described.model_validate(source)
    *others, last = (f"'{kind}'" for kind in kinds)
    wrong: pydantic_core.InitErrorDetails = {
        "type": "literal_error",
        "loc": ("kind",),
        "input": source["kind"],
        "ctx": {"expected": f"{', '.join(others)} or {last}, or name the plugin that adds it in plugins"},
    }
    raise pydantic_core.ValidationError.from_exception_data("source", [wrong])


class _ByKind:
    """Builds the validator of a kind when a source has it; only the JSON Schema has all of them."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, _handler: pydantic.GetCoreSchemaHandler
    ) -> pydantic_core.CoreSchema:
        return pydantic_core.core_schema.with_info_plain_validator_function(_by_kind)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: pydantic_core.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(pydantic.TypeAdapter[Any](_AnyKind).core_schema)


_AnyKind = FileSource | CommandSource | SqlSource | network_kinds.Source | PluginSource

Source = Annotated[_AnyKind, _ByKind]
"""One source, of the kind that its key `kind` names: a built-in one, or one of the `kinds` in the context."""
