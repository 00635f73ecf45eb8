"""A folder of accounts: each `NAME.toml` is the settings of one, and `_defaults.toml` is merged beneath all of them.

Where `_defaults.toml` has `[cluster]`, the accounts are in the database that it names instead.

Invariant: an account whose file is invalid affects no other account, and a key or journal is never shared by mistake.
Neighbours: `loader` validates what is merged here, `secrets` reads the keys, `core.model.account_files` compares scans.
"""

import contextlib
import dataclasses
import pathlib
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import pydantic

from worker.core.model.account_files import Scan, Signature
from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem
from worker.core.model.secret import redact
from worker.settings import error_messages, loader, model, section, urls
from worker.sources import positions

DEFAULTS = loader.DEFAULTS
PLACEHOLDER = "{account}"

_SUFFIX = ".toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_JOURNAL = "journal.url: the journal is in the cluster's database: remove this key"

_ANY_SOURCE = [{"path": "membership.yaml"}]
"""Stands for the sources of an account while `_defaults.toml` is checked alone."""


def _with_account(text: str) -> str:
    if PLACEHOLDER not in text:
        raise ValueError(f"write {PLACEHOLDER} where the name of the account belongs: keys are not shared")
    return text


class Secrets(section.Section):
    """Where the keys of the accounts are."""

    kind: Literal["files", "env", "command"] = pydantic.Field(
        default="files",
        description="files: one in `path` for each account. env: variables like CHARGE_API_KEY__ACME. command: what "
        "`command` prints.",
    )
    path: Annotated[str, pydantic.AfterValidator(_with_account)] = pydantic.Field(
        default="/run/secrets/fleet-sync/{account}/charge-api-key",
        description="File with the secret key of the account that replaces {account}.",
    )
    command: tuple[str, ...] = pydantic.Field(
        default=(),
        strict=False,
        validate_default=True,
        description="Command and arguments that print the secret key of the account that replaces {account}.",
    )

    @pydantic.field_validator("command")
    @classmethod
    def _fits_kind(cls, command: tuple[str, ...], info: pydantic.ValidationInfo) -> tuple[str, ...]:
        if info.data.get("kind") == "command":
            _with_account(" ".join(command))
        elif command:
            raise ValueError('it is used with kind = "command" only')
        return command


class Cluster(section.Section):
    """The database in which accounts, journals and queue are, and how soon its workers replace one that is gone."""

    url: Annotated[str, pydantic.AfterValidator(urls.database)] = pydantic.Field(
        default="", description="Address of the database, as postgresql://…; with a password, use url_file."
    )
    url_file: str = pydantic.Field(
        default="", description="File that contains the address of the database; instead of url."
    )
    permit_seconds: float = pydantic.Field(
        default=3,
        ge=1,
        le=60,
        description="How long a worker may go on sending without having renewed its permit in the database.",
    )
    stall_seconds: float = pydantic.Field(
        default=5,
        ge=1,
        le=600,
        validate_default=True,
        description="How long a worker may be silent before others take over its accounts.",
    )

    @pydantic.field_validator("url_file")
    @classmethod
    def _not_both(cls, file: str, info: pydantic.ValidationInfo) -> str:
        if file and info.data.get("url"):
            raise ValueError("cluster.url is set too: keep one of the two")
        return file

    @pydantic.field_validator("stall_seconds")
    @classmethod
    def _not_below_permit(cls, seconds: float, info: pydantic.ValidationInfo) -> float:
        if seconds < info.data.get("permit_seconds", 0):
            raise ValueError("must not be less than permit_seconds")
        return seconds

    @pydantic.model_validator(mode="after")
    def _has_address(self) -> Self:
        if not self.url and not self.url_file:
            raise ValueError("write url_file, the file with the address of the database, as in postgresql://db/fleet")
        return self


_COMMON: Mapping[str, type[section.Section]] = {"status": model.Status, "secrets": Secrets, "cluster": Cluster}
"""The sections that only `_defaults.toml` has: they are about the process, not about an account."""


@dataclasses.dataclass(frozen=True, slots=True)
class Defaults:
    """What `_defaults.toml` says: `data` is what goes beneath the settings of each account."""

    layer: loader.Layer
    data: Mapping[str, Any]
    status: model.Status
    secrets: Secrets
    cluster: Cluster | None = None


def scan(folder: pathlib.Path) -> Scan:
    """Return the accounts' files by account, and `_defaults.toml` by that name. Raises errors.SettingsError."""
    found = {}
    try:
        for path in folder.iterdir():
            is_account = path.suffix == _SUFFIX and not path.name.startswith((".", "_"))
            if (is_account or path.name == DEFAULTS) and (signature := _signature(path)) is not None:
                found[_shown(path.stem) if is_account else DEFAULTS] = signature
    except OSError as error:
        raise _unreadable(folder, error) from None
    return found


def _shown(stem: str) -> str:
    """Return the name of a file as text, which a page can show: of a name that is not UTF-8, no valid one remains."""
    return stem.encode(errors="replace").decode()


def _signature(path: pathlib.Path) -> Signature | None:
    """Return what differs after a file was written; None for a folder, or if the file is gone.

    One that cannot be looked at is a file all the same, so that reading it says what is wrong: it hides no other.
    """
    try:
        file = path.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return ()
    return (file.st_ino, file.st_size, file.st_mtime_ns) if stat.S_ISREG(file.st_mode) else None


def names(folder: pathlib.Path) -> list[str]:
    """Return the names of the accounts in order. Raises errors.SettingsError."""
    return sorted(scan(folder).keys() - {DEFAULTS})


def read_defaults(folder: pathlib.Path) -> Defaults:
    """Return what `_defaults.toml` says; without one, the defaults. Raises errors.SettingsError with every problem."""
    path = folder / DEFAULTS
    if loader.is_missing(path):
        return Defaults(
            loader.Layer(str(path), positions.Document({}, positions.Lines(""), 0)), {}, model.Status(), Secrets()
        )
    layer = _read(path)
    own = {name: layer.data[name] for name in _COMMON if name in layer.data}
    known = model.Settings.model_fields.keys() - _COMMON.keys()
    beneath = {name: written for name, written in layer.data.items() if name in known}
    unknown = [name for name in layer.data if name not in own and name not in known]
    sections = [*model.SECTIONS, *(name for name in _COMMON if name not in model.SECTIONS)]
    problems = [
        Problem(layer.at((each,), key=True), redact(error_messages.unknown_section(each, sections))) for each in unknown
    ]
    problems += [*_problems_beneath(layer), *loader.problems([layer], {"sources": _ANY_SOURCE, **beneath})]
    common, found = loader.validated_section(layer, own, _COMMON)
    problems += found
    if problems:
        raise SettingsError(sorted(problems))
    return Defaults(
        layer, beneath, common.get("status", model.Status()), common.get("secrets", Secrets()), common.get("cluster")
    )


def _problems_beneath(layer: loader.Layer) -> list[Problem]:
    """Return what no default may be, because the accounts would share it."""
    found = []
    for key in ("api_key_file", "api_key_command"):
        if key in _table(layer.data, "charge"):
            text = f"charge.{key}: this would be the key of every account: write it under [secrets]"
            found.append(Problem(layer.at(("charge", key)), text))
    url = _table(layer.data, "journal").get("url")
    if url is not None and "cluster" in layer.data:
        found.append(Problem(layer.at(("journal", "url")), _JOURNAL))
    elif isinstance(url, str) and url.startswith(urls.SQLITE) and PLACEHOLDER not in url:
        text = f"journal.url: each account needs a journal of its own: write {PLACEHOLDER} into the path"
        found.append(Problem(layer.at(("journal", "url")), text))
    return found


def load(folder: pathlib.Path, name: str, defaults: Defaults) -> model.Settings:
    """Return the settings of an account. Raises errors.SettingsError with every problem."""
    path = path_of(folder, name)
    return of_folder(name, _read(path), folder=folder, defaults=defaults)


def _read(path: pathlib.Path) -> loader.Layer:
    """Read a file of a folder. Raises errors.SettingsError; a pipe, which could block every account, is one."""
    with contextlib.suppress(OSError):  # reading it says why
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            raise SettingsError([Problem(str(path), "not a regular file: write the settings to a file")])
    return loader.read(path)


def path_of(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Return the file of an account. Raises errors.SettingsError if no account can have this name."""
    path = folder / f"{name}{_SUFFIX}"
    _require_name(name, str(path))
    return path


def of_folder(name: str, layer: loader.Layer, *, folder: pathlib.Path, defaults: Defaults) -> model.Settings:
    """Return the settings of an account whose file says what `layer` has. Raises errors.SettingsError."""
    data = _merged(defaults.data, layer.data)
    journal = {"url": f"{urls.SQLITE}{PLACEHOLDER}.db", **_table(data, "journal")}
    if isinstance(data.get("journal", {}), dict):
        data["journal"] = _named(journal, "url", name)
    return _settings(layer, data, name, folder=folder, defaults=defaults)


def of_cluster(
    name: str, layer: loader.Layer, *, folder: pathlib.Path, defaults: Defaults, database: str
) -> model.Settings:
    """Return the settings of an account of a cluster, whose journal is in `database`.

    `folder` is that of `_defaults.toml`: relative paths are relative to it. Raises errors.SettingsError with every
    problem.
    """
    _require_name(name, name)
    data = _merged(defaults.data, layer.data)
    problems = [Problem(layer.at(("journal", "url")), _JOURNAL)] if "url" in _table(layer.data, "journal") else []
    if isinstance(data.get("journal", {}), dict):
        data["journal"] = {**_table(data, "journal"), "url": database}
    return _settings(layer, data, name, folder=folder, defaults=defaults, problems=problems)


def _require_name(name: str, shown: str) -> None:
    if not _NAME.fullmatch(name):
        text = "not the name of an account: write at most 63 letters, digits, dots, hyphens and underscores"
        raise SettingsError([Problem(shown, text)], remedy="Give the account another name.")


def _settings(
    layer: loader.Layer,
    data: Mapping[str, Any],
    name: str,
    *,
    folder: pathlib.Path,
    defaults: Defaults,
    problems: Sequence[Problem] = (),
) -> model.Settings:
    misplaced = [
        Problem(layer.at((each,)), f"{each} is about all accounts: write it into {DEFAULTS}")
        for each in _COMMON
        if each in layer.data
    ]
    own = {key: written for key, written in data.items() if key not in _COMMON}
    settings = loader.validated([layer, defaults.layer], own, problems=[*misplaced, *problems])
    return settings.of_account(name, folder, key_place=_key_place(settings, defaults.secrets, name))


def _key_place(settings: model.Settings, common: Secrets, name: str) -> model.KeyPlace:
    """Return where the key of an account is: what its own file says goes before `[secrets]`."""
    charge = settings.charge
    if charge.api_key_file or charge.api_key_command:
        return model.KeyPlace(file=charge.api_key_file, command=charge.api_key_command)
    match common.kind:
        case "files":
            return model.KeyPlace(file=common.path.replace(PLACEHOLDER, name), setting="secrets.path")
        case "env":
            return model.KeyPlace(variable=key_variable(name))
        case "command":
            argv = tuple(each.replace(PLACEHOLDER, name) for each in common.command)
            return model.KeyPlace(command=argv, setting="secrets.command")


def key_variable(name: str) -> str:
    """Return the variable with the key of an account, where `secrets.kind` is env."""
    return f"CHARGE_API_KEY__{re.sub('[^A-Z0-9]', '_', name.upper())}"


def _merged(beneath: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both: tables are merged key by key, and of anything else the upper one counts."""
    merged = dict(beneath)
    for key, written in above.items():
        both = isinstance(written, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], written) if both else written
    return merged


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = data.get(name)
    return table if isinstance(table, dict) else {}


def _named(table: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    text = table[key]
    return {**table, key: text.replace(PLACEHOLDER, name) if isinstance(text, str) else text}


def _unreadable(folder: pathlib.Path, error: OSError) -> SettingsError:
    return SettingsError([Problem(str(folder), f"cannot read the folder of accounts ({error.strerror})")])
