"""Says what is wrong with a setting, and what to write instead.

Invariant: no message repeats a text that stands in the settings, but for names of keys and for
memberships: it may be a secret.
Neighbours: `loading` finds out where the setting stands.
"""

from collections.abc import Sequence
from typing import Any

import pydantic_core

from worker.settings import model
from worker.sources import positions

_TYPES = {
    "int_type": "write a whole number, without quotation marks",
    "int_from_float": "write a whole number",
    "float_type": "write a number, without quotation marks",
    "finite_number": "write a finite number",
    "bool_type": "write true or false, without quotation marks",
    "string_type": 'write text in "quotation marks"',
    "enum": 'write "exact", or "additive" to never detach',
    "literal_error": 'write "file"',
    "string_too_short": "write a path",
    "string_pattern_mismatch": 'write a version like "2026-03-01"',
    "tuple_type": 'write a list, like ["…", "…"]',
}
_SOURCES = 'write at least one source: a line [[sources]], and below it a line path = "membership.yaml"'


def describe(error: pydantic_core.ErrorDetails) -> str:
    """Put one error of validation into words for the operator."""
    path = [part for part in error["loc"] if isinstance(part, str)]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        return _unknown(path)
    if error["loc"] == ("sources",):
        return _SOURCES
    if error["type"] == "missing":
        return f'{key} is missing: write path = "membership.yaml"'
    if error["type"] in ("model_type", "model_attributes_type"):
        heading = "[[sources]]" if path[0] == "sources" else f"[{key}]"
        return f"{key} is a section: write a line {heading}, and its keys below it"
    return f"{key}: {_expected(error)}"


def _expected(error: pydantic_core.ErrorDetails) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "greater_than":
            return f"write a number above {context['gt']:g}"
        case "greater_than_equal":
            return f"write a number from {context['ge']:g} on"
        case "less_than_equal":
            return f"write a number up to {context['le']:g}"
        case "value_error":
            return str(context["error"])
        case _:
            pass
    return _TYPES.get(error["type"], error["msg"])


def _unknown(path: Sequence[str]) -> str:
    name = path[-1]
    if len(path) == 1:
        listed = ", ".join(model.SECTIONS)
        return (
            f"unknown section {positions.shown(name)}: the sections are {listed}{positions.near(name, model.SECTIONS)}"
        )
    known = tuple(model.SECTIONS[path[0]].model_fields)
    words = f"its keys are {', '.join(known)}{positions.near(name, known)}"
    if name in ("api_key", "key", "secret", "token"):
        words = "a secret key never stands here; set CHARGE_API_KEY, or charge.api_key_file"
    return f"unknown key {positions.shown(name)} in {path[0]}: {words}"
