"""Makes settings of a file and of the environment's overrides.

Invariant: either everything is valid, or one error lists every problem with its place; nothing is half loaded.
Neighbours: `model` has the keys, `words` the messages, `sources.toml_document` the places.
"""

import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

import pydantic
import pydantic_core

from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem
from worker.core.model.secret import redact
from worker.settings import error_messages, model
from worker.sources import positions
from worker.sources.formats import toml_format

PREFIX = "FLEET_SYNC_"

_HOW = (
    'write one with a line [[sources]] and below it a line path = "membership.yaml" (every other key has a default), '
    "or name another with --config"
)

_NO_SETTINGS = "this is no settings file; name another with --config"

_Overrides = Mapping[tuple[str, str], str]

_MISSPELT = {
    f"{section}_{key}": (section, "_", key) for section, keys in model.SECTIONS.items() for key in keys.model_fields
}


def load(path: pathlib.Path | str, environ: Mapping[str, str]) -> model.Settings:
    """Read the settings file, with each `FLEET_SYNC_SECTION__KEY` of the environment in place of what it says.

    Raises errors.SettingsError with every problem.
    """
    document = _document(path)
    data, overrides, problems = _overridden(document.data, environ)
    settings, invalid = _validated(data)
    for error in invalid:
        place = _place(str(path), document, error, overrides)
        problems.append(Problem(place, redact(error_messages.describe(error))))
    if settings is None or problems:
        raise SettingsError(sorted(problems))
    return settings.placed(pathlib.Path(path).parent)


def _document(path: pathlib.Path | str) -> positions.Document:
    try:
        with pathlib.Path(path).open("rb") as file:
            return toml_format.parse(positions.decode(file.read(positions.LIMIT + 1), too_large=_NO_SETTINGS))
    except FileNotFoundError:
        problem = Problem(str(path), f"there is no settings file: {_HOW}")
    except IsADirectoryError:
        problem = Problem(str(path), "it is a folder: name the settings file in it")
    except OSError as error:
        problem = Problem(str(path), f"it cannot be read ({error.strerror}): see to its permissions")
    except positions.Malformed as malformed:
        line, column = malformed.place
        problem = Problem(f"{path}:{line}:{column}", redact(malformed.message))
    raise SettingsError([problem])


def _overridden(file: object, environ: Mapping[str, str]) -> tuple[dict[str, Any], _Overrides, list[Problem]]:
    """Lay the overrides over what the file says; also give which variable stands behind which key."""
    data: dict[str, Any] = dict(file) if isinstance(file, dict) else {}
    overrides: dict[tuple[str, str], str] = {}
    problems: list[Problem] = []
    for name in sorted(environ):
        section, separator, key = _meant(name)
        if section == "sources":
            problems.append(Problem(name, "sources stand in the settings file only: unset this, and write them there"))
        elif separator == "_":
            meant = f"{PREFIX}{section}__{key}".upper()
            how = f"write {meant}, with two underscores between section and key, or unset it"
            problems.append(Problem(name, f"this changes nothing: {how}"))
        elif separator and isinstance(table := data.get(section, {}), dict):  # else the file's own mistake is reported
            data[section] = {**table, key: _value(environ[name], text=_is_text(section, key))}
            overrides[section, key] = name
    return data, overrides, problems


def _meant(variable: str) -> tuple[str, str, str]:
    """Give the section and the key that a variable means, and what stands between them: nothing where it means none.

    One underscore is a mistake where two would make it an override. Other variables may mean something else.
    """
    if not variable.startswith(PREFIX):
        return "", "", ""
    name = variable.removeprefix(PREFIX).lower()
    if "__" in name:
        return name.partition("__")
    return _MISSPELT.get(name.strip("_"), ("", "", ""))


def _is_text(section: str, key: str) -> bool:
    """Tell whether a key is known, and its value is a text."""
    keys = model.SECTIONS[section].model_fields if section in model.SECTIONS else {}
    return key in keys and keys[key].annotation is str


def _value(written: str, *, text: bool) -> object:
    """Read an override as a TOML value where it is one, else as it is written: a `text` need not be quoted."""
    try:
        found = tomllib.loads(f"value = {written}")
    except (ValueError, RecursionError):
        return written
    value = found["value"]
    fits = isinstance(value, str) if text else isinstance(value, bool | int | float | str | list)
    return value if fits and set(found) == {"value"} else written


def _validated(data: Mapping[str, Any]) -> tuple[model.Settings | None, list[pydantic_core.ErrorDetails]]:
    try:
        return model.Settings.model_validate(data), []
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        # A source that is wrong does not count, so pydantic finds none: that adds nothing to what is wrong with it.
        some = any(one["loc"][0] == "sources" and len(one["loc"]) > 1 for one in found)
        return None, [one for one in found if not some or one["loc"] != ("sources",)]


def _place(file: str, document: positions.Document, error: pydantic_core.ErrorDetails, overrides: _Overrides) -> str:
    path = error["loc"]
    if name := overrides.get((str(path[0]), str(path[1] if len(path) > 1 else ""))):
        return name
    if variable := next((name for (section, _), name in overrides.items() if path == (section,)), ""):
        return variable
    line, column = document.key_at(path) if error["type"] == "extra_forbidden" else document.at(path)
    return f"{file}:{line}:{column}"
