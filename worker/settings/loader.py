"""Reads the settings of an account from its file and the environment's overrides.

Invariant: either every setting is valid, or one error lists every problem with its place; nothing is loaded in part.
Neighbours: `model` defines the keys, `error_messages` the messages; `sources.positions` and `sources.formats` know the
places.
"""

import dataclasses
import pathlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydantic
import pydantic_core

from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem
from worker.core.model.secret import redact
from worker.settings import error_messages, model, section, source_kinds
from worker.sources import positions
from worker.sources.formats import toml_format

PREFIX = "FLEET_SYNC_"

DEFAULTS = "_defaults.toml"
"""A file beside this one is that of an account in a folder, and is incomplete without it."""

_HOW_TO_CREATE = "create one with `fleet-sync init`, or pass --config FILE"
_NOT_SETTINGS = "this is not a settings file; pass another one with --config FILE"

_NUL = "a NUL character: remove it"

_Overrides = Mapping[tuple[str, str], str]
_NO_OVERRIDES: _Overrides = {}

_FORMER_SECTIONS = {name: model.SECTIONS[current] for name, current in model.RENAMED_SECTIONS.items()}
_ONE_UNDERSCORE = {
    f"{name}_{key}": (name, key)
    for name, section in {**model.SECTIONS, **_FORMER_SECTIONS}.items()
    for key in section.model_fields
}
"""Overrides that lack the second underscore between section and key."""


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A settings file that was read: its name as messages show it, its data, and the places in it."""

    file: str
    document: positions.Document

    @property
    def data(self) -> dict[str, Any]:
        """Return the tables of the file."""
        return self.document.data if isinstance(self.document.data, dict) else {}

    def at(self, path: positions.Path, *, key: bool = False) -> str:
        """Return the place of a value, or of its key, as `file:line:column`."""
        line, column = self.document.key_at(path) if key else self.document.at(path)
        return f"{self.file}:{line}:{column}"

    def depth(self, path: positions.Path) -> int:
        """Return how many steps of a path the file has."""
        inside: Any = self.data
        for number, step in enumerate(path):
            has = (
                step in inside if isinstance(inside, dict) else isinstance(inside, list) and step in range(len(inside))
            )
            if not has:
                return number
            inside = inside[step]
        return len(path)


def load(path: pathlib.Path | str, environ: Mapping[str, str]) -> model.Settings:
    """Return the settings in a file; each `FLEET_SYNC_SECTION__KEY` in the environment replaces the file's value.

    Raises errors.SettingsError with every problem.
    """
    layer = read(path)
    data, overrides, misused = _with_overrides(layer.data, environ)
    settings = validated([layer], data, overrides=overrides, problems=misused)
    return settings.in_folder(pathlib.Path(path).parent)


def overriding(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that `load` would take as overrides, and that are not empty."""
    return [name for name in sorted(environ) if environ[name] and _override_target(name) is not None]


def validated(
    layers: Sequence[Layer],
    data: Mapping[str, Any],
    *,
    overrides: _Overrides = _NO_OVERRIDES,
    problems: Sequence[Problem] = (),
) -> model.Settings:
    """Return the settings that `data` has, which was read from `layers`, the uppermost first.

    Raises errors.SettingsError with every problem, and with those that were found before.
    """
    kinds = _kinds(data, layers)
    settings, invalid = _validated(data, kinds)
    found = [*problems, *_problems(layers, data, invalid, kinds=kinds, overrides=overrides)]
    if settings is None or found:
        raise SettingsError(sorted(found))
    return settings


def problems(layers: Sequence[Layer], data: Mapping[str, Any]) -> list[Problem]:
    """Return every problem of settings."""
    try:
        validated(layers, data)
    except SettingsError as error:
        return list(error.problems)
    return []


def validated_section(
    layer: Layer, data: Mapping[str, Any], kinds: Mapping[str, type[section.Section]]
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the sections in `data` that are valid, by name, and the problems of the others."""
    sections: dict[str, Any] = {}
    found = []
    for name, written in data.items():
        try:
            sections[name] = kinds[name].model_validate(written)
        except pydantic.ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                each["loc"] = (name, *each["loc"])
                place = layer.at(each["loc"], key=each["type"] == "extra_forbidden")
                found.append(Problem(place, redact(error_messages.describe_section(each, kinds[name]))))
    return sections, found


def _problems(
    layers: Sequence[Layer],
    data: Mapping[str, Any],
    invalid: Sequence[pydantic_core.ErrorDetails],
    *,
    kinds: source_kinds.Kinds,
    overrides: _Overrides,
) -> Iterator[Problem]:
    for error in invalid:
        if isinstance(data.get("notify"), dict) and error["loc"][:2] == ("notify", 0):
            error["loc"] = ("notify", *error["loc"][2:])  # a single table has no number
        place = _place(layers, error, overrides)
        yield Problem(place, redact(error_messages.describe(error, data, kinds)))


def is_folder(path: pathlib.Path | str) -> bool:
    """Return whether a path leads to a folder. False if that cannot be found out: reading it as a file says why."""
    try:
        return pathlib.Path(path).is_dir()
    except OSError:
        return False


def is_missing(path: pathlib.Path | str) -> bool:
    """Return whether there certainly is nothing at a path, not even a link to nowhere or what cannot be read."""
    try:
        pathlib.Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def read(path: pathlib.Path | str) -> Layer:
    """Read a settings file, and validate nothing but its syntax. Raises errors.SettingsError."""
    return parse(str(path), read_bytes(path))


def read_bytes(path: pathlib.Path | str) -> bytes:
    """Return the content of a settings file, cut off behind the longest valid one. Raises errors.SettingsError."""
    try:
        with pathlib.Path(path).open("rb") as file:
            return file.read(positions.MAX_BYTES + 1)
    except FileNotFoundError:
        if not is_missing(path):
            raise SettingsError([Problem(str(path), "this is a link to a file that does not exist")]) from None
        problem = Problem(str(path), f"settings file not found: {_HOW_TO_CREATE}")
        raise SettingsError([problem], remedy=f"C{_HOW_TO_CREATE[1:]}.") from None
    except IsADirectoryError:
        problem = Problem(str(path), "this is a folder: name the settings file in it")
    except OSError as error:
        problem = Problem(str(path), f"cannot read the file ({error.strerror}): check its permissions")
    raise SettingsError([problem])


def parse(name: str, data: bytes) -> Layer:
    """Return what the settings file of this name contains, whose syntax is valid. Raises errors.SettingsError."""
    try:
        layer = Layer(name, toml_format.parse(positions.decode(data, too_large=_NOT_SETTINGS)))
    except positions.Malformed as malformed:
        line, column = malformed.place
        raise SettingsError([Problem(f"{name}:{line}:{column}", redact(malformed.message))]) from None
    if problems := [Problem(layer.at(path, key=True), _NUL) for path in _nul_characters(layer.data)]:
        raise SettingsError(problems)
    return layer


def _nul_characters(value: object, path: positions.Path = ()) -> Iterator[positions.Path]:
    """Yield the places with a NUL character: no path, command or database takes one, and each fails in its own way."""
    match value:
        case str() if "\0" in value:
            yield path
        case dict():
            for key, inside in value.items():
                yield from [(*path, key)] if "\0" in key else _nul_characters(inside, (*path, key))
        case list():
            for number, inside in enumerate(value):
                yield from _nul_characters(inside, (*path, number))
        case _:
            pass


def _with_overrides(
    file: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], _Overrides, list[Problem]]:
    """Return the file's data with the overrides applied, the variable behind each overridden key, and the problems."""
    data = dict(file)
    overrides: dict[tuple[str, str], str] = {}
    problems: list[Problem] = []
    for name in sorted(environ):
        if (target := _override_target(name)) is None:
            continue
        section, key = target
        value = _value(environ[name], is_text=_is_text(section, key))
        if message := _misuse(name, section, key) or (_NUL if list(_nul_characters(value)) else None):
            problems.append(Problem(name, message))
        elif section == "notify" and isinstance(data.get(section), list):
            problems.append(Problem(name, "the settings file has several [[notify]]: write this key there"))
        elif isinstance(table := data.get(section, {}), dict):  # otherwise the error in the file is reported
            data[section] = {**table, key: value}
            overrides[section, key] = name
    return data, overrides, problems


def _override_target(variable: str) -> tuple[str, str] | None:
    """Return the section and key that a variable overrides, or None if it is not an override.

    One underscore where two are needed counts when section and key are known; any other variable with our prefix may
    belong to something else.
    """
    if not variable.startswith(PREFIX):
        return None
    name = variable.removeprefix(PREFIX).lower()
    if "__" in name:
        section, _, key = name.partition("__")
        return section, key
    return _ONE_UNDERSCORE.get(name.strip("_"))


def _misuse(name: str, section: str, key: str) -> str | None:
    """Return the reason why an override cannot be applied, or None."""
    if section == "sources":
        return "sources can only be written in the settings file: unset this variable, and write them there"
    if section in model.RENAMED_SECTIONS:
        return error_messages.renamed_override(section, key)
    if "__" not in name.removeprefix(PREFIX):
        intended = f"{PREFIX}{section}__{key}".upper()
        return f"this has no effect: write {intended}, with two underscores between section and key, or unset it"
    return None


def _is_text(section: str, key: str) -> bool:
    """Return whether a key is known and its value is text."""
    keys = model.SECTIONS[section].model_fields if section in model.SECTIONS else {}
    return key in keys and keys[key].annotation is str


def _value(written: str, *, is_text: bool) -> object:
    """Return the TOML value that an override spells, or the text as it is: text need not be quoted."""
    try:
        parsed = tomllib.loads(f"value = {written}")
    except (ValueError, RecursionError):
        return written
    value = parsed["value"]
    fits = isinstance(value, str) if is_text else isinstance(value, bool | int | float | str | list)
    return value if fits and set(parsed) == {"value"} else written


def _kinds(data: Mapping[str, Any], layers: Sequence[Layer]) -> source_kinds.Kinds:
    """Return the kinds of sources, with those of the plugins that the settings name.

    Raises errors.SettingsError with every plugin that cannot be used: its sources cannot be checked without it.
    """
    kinds, problems = dict(source_kinds.KINDS), []
    names = data.get("plugins")
    for index, name in enumerate(names if isinstance(names, list) else ()):
        from worker.sources import plugin_loader  # imported late: most settings name none

        try:
            for kind, loaded in plugin_loader.load(str(name), taken=kinds).items():
                kinds[kind] = source_kinds.plugin_source(kind, loaded)
        except (plugin_loader.PluginError, ValueError) as error:
            place = _layer(layers, ("plugins", index)).at(("plugins", index))
            problems.append(Problem(place, redact(f"plugins: {error}")))
    if problems:
        raise SettingsError(problems)
    return kinds


def _validated(
    data: Mapping[str, Any], kinds: source_kinds.Kinds
) -> tuple[model.Settings | None, list[pydantic_core.ErrorDetails]]:
    try:
        return model.Settings.model_validate(data, context={"kinds": kinds}), []
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        # pydantic also reports "no sources" when every source is invalid: that would only repeat what is wrong.
        some = any(one["loc"][0] == "sources" and len(one["loc"]) > 1 for one in found)
        return None, [one for one in found if not some or one["loc"] != ("sources",)]


def _place(layers: Sequence[Layer], error: pydantic_core.ErrorDetails, overrides: _Overrides) -> str:
    path = error["loc"]
    if name := overrides.get((str(path[0]), str(path[1] if len(path) > 1 else ""))):
        return name
    if variable := next((name for (section, _), name in overrides.items() if path == (section,)), ""):
        return variable
    return _layer(layers, path).at(path, key=error["type"] == "extra_forbidden")


def _layer(layers: Sequence[Layer], path: positions.Path) -> Layer:
    """Return the file that says what is at this path: the one that has most of it, and of several the uppermost."""
    return max(layers, key=lambda layer: layer.depth(path))
