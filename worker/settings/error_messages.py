"""The messages for invalid settings: what is wrong, and what to write instead.

Invariant: no message repeats a value from the settings, because it may be a secret. Names of keys and memberships are
the exceptions. Neighbours: `loader` finds the place of each error.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pydantic_core

from worker.settings import model, section, source_kinds, source_sections
from worker.sources import positions

_BY_TYPE = {
    "int_type": "write a whole number, without quotation marks",
    "int_from_float": "write a whole number",
    "float_type": "write a number, without quotation marks",
    "finite_number": "write a finite number",
    "bool_type": "write true or false, without quotation marks",
    "string_type": 'write text in "quotation marks"',
    "enum": 'write "exact", or "additive" to never detach',
    "string_too_short": "write a path",
    "string_pattern_mismatch": 'write a version like "2026-03-01"',
    "tuple_type": 'write a list, like ["…", "…"]',
    "dict_type": "write a table, like {Status = …}",
}
_EXAMPLES = {
    "path": 'path = "membership.yaml"',
    "url": 'url = "https://hr.example.com/people.csv"',
    "url_file": 'url_file = "secrets/warehouse-url"',
    "host": 'host = "sftp.example.com"',
    "username": 'username = "fleet-sync"',
    "known_hosts_file": 'known_hosts_file = "known_hosts", a file that ssh-keyscan makes',
    "query": 'query = "SELECT email AS driver, depot AS fleet FROM drivers"',
    "run": 'run = ["./export-drivers", "--format", "csv"]',
    "driver": 'driver = "employee_id={Employee ID}", with your column in braces',
    "fleet": 'fleet = "{Department}", with your column in braces',
}
"""For each key that has no default, a line that sets it."""

_NO_SOURCES = 'at least one source is required: add a section [[sources]] with path = "membership.yaml"'


def describe(error: pydantic_core.ErrorDetails, data: Mapping[str, Any], kinds: source_kinds.Kinds) -> str:
    """Return the message for one validation error of the settings in `data`, which may use these kinds of sources."""
    path = [part for part in error["loc"] if isinstance(part, str)]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        return unknown_section(path[0]) if len(path) == 1 else _unknown_key(path, _section(error, data, kinds))
    if error["loc"] == ("sources",) and error["type"] != "value_error":
        return _NO_SOURCES
    if error["type"] == "missing":
        example = _EXAMPLES.get(path[-1], f"{path[-1]} = …")
        return f"{key} is missing: write {example}"
    return _of_section(error, "[[sources]]" if key == "sources" else f"[{key}]")


def describe_section(error: pydantic_core.ErrorDetails, described: type[section.Section]) -> str:
    """Return the message for one validation error of a section that is no part of an account's settings."""
    if error["type"] == "extra_forbidden":
        return _unknown_key([str(part) for part in error["loc"]], described)
    return _of_section(error, f"[{error['loc'][0]}]")


def _of_section(error: pydantic_core.ErrorDetails, heading: str) -> str:
    key = ".".join(part for part in error["loc"] if isinstance(part, str))
    if error["type"] in ("model_type", "model_attributes_type"):
        return f"{key} must be a section: write {heading}, and its keys below it"
    return f"{key}: {_invalid_value(error)}"


def renamed_override(former: str, key: str) -> str:
    """Return the message for an override that uses the former name of a section."""
    current = model.RENAMED_SECTIONS[former]
    return f"[{former}] is now [{current}]: set FLEET_SYNC_{current.upper()}__{key.upper()} instead"


def _invalid_value(error: pydantic_core.ErrorDetails) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "greater_than":
            return f"write a number greater than {context['gt']:.12g}"
        case "greater_than_equal":
            return f"write a number of at least {context['ge']:.12g}"
        case "less_than_equal":
            return f"write a number of at most {context['le']:.12g}"
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return f"write {context['expected']}".replace("'", '"')
        case "too_short":
            return "write at least one"
        case _:
            return _BY_TYPE.get(error["type"], error["msg"])


def unknown_section(name: str, sections: Collection[str] = model.SECTIONS.keys()) -> str:
    """Return the message for a section that is none of those that a file may have."""
    if current := model.RENAMED_SECTIONS.get(name):
        return f"[{name}] is now [{current}]: rename the section, its keys are the same"
    return (
        f"unknown section {positions.quote(name)}: the sections are {', '.join(sections)}"
        f"{positions.did_you_mean(name, sections)}"
    )


def _section(
    error: pydantic_core.ErrorDetails, data: Mapping[str, Any], kinds: source_kinds.Kinds
) -> type[section.Section]:
    """Return the class of the section in which the error is."""
    name, *inner = error["loc"][:-1]
    if len(inner) > 1:
        return source_sections.SUBSECTIONS[str(inner[1])]
    if inner and (described := source_kinds.section_of(data["sources"][inner[0]], kinds)):
        return described
    return model.SECTIONS[str(name)]


def _unknown_key(path: Sequence[str], described: type[section.Section]) -> str:
    section_name, name = ".".join(path[:-1]), path[-1]
    known = tuple(source_sections.keys(described))
    advice = f"its keys are {', '.join(known)}{positions.did_you_mean(name, known)}"
    if name in ("api_key", "key", "secret", "token"):
        advice = "the settings never contain a secret key; set CHARGE_API_KEY, or charge.api_key_file"
    return f"unknown key {positions.quote(name)} in {section_name}: {advice}"
