"""The secrets that the environment and the settings name: the API key, those of the page and of saved plans, addresses.

Invariant: no message contains any part of a secret. A place that is set but unusable is an error, and no other place is
tried: another key could belong to another account. Neighbours: `core.model.secret` wraps what is found here,
`key_command` runs a command that prints the key, `urls` checks addresses.
"""

import dataclasses
import functools
import pathlib
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from urllib import parse

from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem
from worker.core.model.secret import KEY_PREFIX, Secret
from worker.settings import account_folder, key_command, model, urls

KEY_VARIABLE = "CHARGE_API_KEY"
KEY_FILE_VARIABLE = "CHARGE_API_KEY_FILE"
TOKEN_VARIABLE = "FLEET_SYNC_STATUS_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE_VARIABLE = "FLEET_SYNC_STATUS_TOKEN_FILE"  # noqa: S105

PLAN_KEY_VARIABLE = "FLEET_SYNC_PLAN_KEY"
PLAN_KEY_FILE_VARIABLE = "FLEET_SYNC_PLAN_KEY_FILE"

MAX_BYTES = 4096
"""The largest secret that is read."""

MIN_TOKEN_LENGTH = 16
"""Characters that a status token and a plan key must have, so that they cannot be guessed."""

_KEY_SETTING = "charge.api_key_file"
_COMMAND_SETTING = "charge.api_key_command"
_PROXY_SETTING = "charge.proxy_url_file"
_DATABASE_SETTING = "cluster.url_file"
_WEBHOOK_SETTING = "notify.url_file"
_PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
_KEY_REMEDY = (
    f"Set {KEY_VARIABLE} to the secret key, or {KEY_FILE_VARIABLE} or {_KEY_SETTING} to the path of a file that "
    f"contains it, or {_COMMAND_SETTING} to a command that prints it."
)
_FOLDER_REMEDY = (
    "The section [secrets] of _defaults.toml says where the keys of the accounts are. A running service tries again by "
    "itself."
)
_VISIBLE_ASCII = re.compile(r"[!-~]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """The API key, a way to read it again (raises errors.SettingsError), and what else an account may need.

    `proxy` is the proxy's address, `plan_key` signs saved plans; without one the API key does.
    """

    key: Secret
    read_key: Callable[[], Secret]
    proxy: Secret | None = None
    plan_key: Secret | None = None

    def secrets(self) -> Iterator[Secret]:
        """Yield every secret that there is."""
        yield from (each for each in (self.key, self.proxy, self.plan_key) if each is not None)


def credentials(settings: model.Settings, environ: Mapping[str, str]) -> Credentials:
    """Return what an account needs to connect to Charge. Raises errors.SettingsError."""
    read_key = functools.partial(api_key, settings, environ)
    return Credentials(read_key(), read_key, proxy_address(settings), plan_key(environ))


def api_key(settings: model.Settings, environ: Mapping[str, str]) -> Secret:
    """Return the secret key of the account.

    The first of these that is set counts: `CHARGE_API_KEY`, `CHARGE_API_KEY_FILE`, `charge.api_key_file`,
    `charge.api_key_command`. An account of a folder has one place. Raises errors.SettingsError.
    """
    if settings.key_place is not None:
        return _api_key_at(settings.key_place, settings, environ)
    if KEY_VARIABLE in environ:
        return _api_key(environ[KEY_VARIABLE], KEY_VARIABLE)
    if KEY_FILE_VARIABLE in environ:
        if not environ[KEY_FILE_VARIABLE]:
            raise _key_error(KEY_FILE_VARIABLE, "it is empty: set it to the path of a file, or unset it")
        return _api_key_in(pathlib.Path(environ[KEY_FILE_VARIABLE]), KEY_FILE_VARIABLE)
    if settings.charge.api_key_file:
        return _api_key_in(settings.resolve_path(settings.charge.api_key_file), _KEY_SETTING)
    if settings.charge.api_key_command:
        return _api_key_printed_by(settings.charge.api_key_command)
    raise _key_error(KEY_VARIABLE, "no secret key: set this variable, or name a file that contains the key")


def _api_key_at(place: model.KeyPlace, settings: model.Settings, environ: Mapping[str, str]) -> Secret:
    """Return the key of an account in a folder."""
    try:
        if place.file:
            return _api_key_in(settings.resolve_path(place.file), place.setting or _KEY_SETTING)
        if place.command:
            return _api_key_printed_by(place.command, place.setting or _COMMAND_SETTING)
        if place.variable in environ:
            return _api_key(environ[place.variable], place.variable)
    except SettingsError as error:
        raise SettingsError(error.problems, remedy=_FOLDER_REMEDY) from None
    raise _error(place.variable, "no secret key: set this variable", remedy=_FOLDER_REMEDY)


def status_token(environ: Mapping[str, str]) -> Secret | None:
    """Return the token that requests to the running service must carry, or None if none is set.

    `FLEET_SYNC_STATUS_TOKEN` wins over `FLEET_SYNC_STATUS_TOKEN_FILE`; an empty variable counts as unset. Raises
    errors.SettingsError.
    """
    return _random_text(environ, TOKEN_VARIABLE, TOKEN_FILE_VARIABLE, what="token")


def plan_key(environ: Mapping[str, str]) -> Secret | None:
    """Return the key that signs saved plans, or None if none is set: then the API key does.

    `FLEET_SYNC_PLAN_KEY` wins over `FLEET_SYNC_PLAN_KEY_FILE`; an empty variable counts as unset. Raises
    errors.SettingsError.
    """
    return _random_text(environ, PLAN_KEY_VARIABLE, PLAN_KEY_FILE_VARIABLE, what="plan key")


@dataclasses.dataclass(frozen=True, slots=True)
class NotificationTarget:
    """An address that notifications are posted to. Only PagerDuty has a routing key, which is in each document."""

    kind: str
    url: Secret
    events: tuple[str, ...]
    routing_key: Secret | None = None

    def secrets(self) -> Iterator[Secret]:
        """Yield every secret that there is."""
        yield from (each for each in (self.url, self.routing_key) if each is not None)


def notification_targets(settings: model.Settings) -> tuple[NotificationTarget, ...]:
    """Return where notifications go: the address in `url`, or in the file that `url_file` names.

    The address is a secret: its path is often all that protects it. Raises errors.SettingsError with every problem.
    """
    targets: list[NotificationTarget] = []
    problems: list[Problem] = []
    for each in settings.notify:
        try:
            targets += [_target(settings, each)] if each.url or each.url_file else []
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)
    return tuple(targets)


def _target(settings: model.Settings, notify: model.Notify) -> NotificationTarget:
    check = _pagerduty_address if notify.kind == "pagerduty" else urls.webhook
    url = Secret(notify.url)
    if notify.url_file:
        url = _address_in(settings.resolve_path, notify.url_file, setting=_WEBHOOK_SETTING, check=check)
    if notify.kind != "pagerduty":
        return NotificationTarget(notify.kind, url, notify.events)
    split = parse.urlsplit(url.reveal())
    keys = parse.parse_qs(split.query).get("routing_key", [])
    if len(keys) != 1:
        raise _error(
            _WEBHOOK_SETTING if notify.url_file else "notify.url",
            "PagerDuty needs a routing key: write it alone to the file in url_file, or the address with "
            "?routing_key= and the key",
        )
    return NotificationTarget(
        notify.kind, Secret(split._replace(query="").geturl()), notify.events, routing_key=Secret(keys[0])
    )


def _pagerduty_address(text: str) -> str:
    """Return the address of PagerDuty's events; a text that is not an address is the routing key."""
    if re.fullmatch(r"[A-Za-z0-9]{16,64}", text):
        return f"{_PAGERDUTY}?routing_key={text}"
    return urls.webhook(text)


def proxy_address(settings: model.Settings) -> Secret | None:
    """Return the address in `charge.proxy_url`, or in the file that `charge.proxy_url_file` names, or None.

    It may contain a user and a password. Raises errors.SettingsError.
    """
    if settings.charge.proxy_url:
        return Secret(settings.charge.proxy_url)
    if not settings.charge.proxy_url_file:
        return None
    check = functools.partial(urls.proxy, login=True)
    return _address_in(settings.resolve_path, settings.charge.proxy_url_file, setting=_PROXY_SETTING, check=check)


def database_address(cluster: account_folder.Cluster, folder: pathlib.Path) -> Secret:
    """Return the address of a cluster's database; a relative path is relative to `folder`.

    It may contain a user and a password. Raises errors.SettingsError.
    """
    if cluster.url:
        return Secret(cluster.url)
    return _address_in(folder.joinpath, cluster.url_file, setting=_DATABASE_SETTING, check=urls.database)


def _address_in(
    resolve_path: Callable[[str], pathlib.Path], name: str, *, setting: str, check: Callable[[str], str]
) -> Secret:
    """Return the address that a file contains, as `check` returns it."""
    if "://" in name:
        raise _error(setting, "this is an address, not a path: write the address to a file and its path here")
    path = resolve_path(name)
    text = _read(path, where=setting, what="an address", shown=str(path)).strip()
    if not text:
        raise _error(f"{setting} ({path})", "the file is empty: write the address to it")
    try:
        return Secret(check(text))
    except ValueError as error:
        raise _error(f"{setting} ({path})", str(error)) from None


def _api_key_printed_by(argv: tuple[str, ...], setting: str = _COMMAND_SETTING) -> Secret:
    try:
        output = key_command.run(argv, max_bytes=MAX_BYTES)
    except key_command.CommandFailed as error:
        raise _key_error(setting, str(error)) from None
    return _api_key(output.decode("ascii", "replace"), f"{setting} (its output)")


def _api_key_in(path: pathlib.Path, where: str) -> Secret:
    if KEY_PREFIX in str(path):
        raise _key_error(where, "this is a key, not a path: write the key to a file and its path here")
    text = _read(path, where=where, what="a key", shown=str(path), remedy=_KEY_REMEDY)
    return _api_key(text, f"{where} ({path})")


def _api_key(text: str, where: str) -> Secret:
    key = text.strip()
    if not key:
        raise _key_error(where, "the key is empty: provide it, or remove or unset this to use another place")
    if not _VISIBLE_ASCII.fullmatch(key):
        raise _key_error(where, "the key contains a space or a character that no key has: copy it again")
    return Secret(key)


def _random_text(environ: Mapping[str, str], variable: str, file_variable: str, *, what: str) -> Secret | None:
    """Return the secret in a variable, or in the file that another one names, or None if neither is set."""
    remedy = (
        f"Set {variable} to a long random text, or {file_variable} to the path of a file that contains it, or "
        "unset both."
    )
    where, text = variable, environ.get(variable)
    if not text and environ.get(file_variable):
        where, path = file_variable, pathlib.Path(environ[file_variable])
        # The path is not shown: it may be the secret itself, set in the wrong variable.
        text = _read(path, where=where, what=f"a {what}", shown="that it names", remedy=remedy)
    elif not text:
        return None
    try:
        return _unguessable(text.strip(), what)
    except ValueError as error:
        raise _error(where, str(error), remedy=remedy) from None


def _unguessable(text: str, what: str) -> Secret:
    """Return a text as a secret. Raise ValueError if it is unusable."""
    if not text:
        raise ValueError(f"the {what} is empty: create one with `openssl rand -hex 24`")
    if not _VISIBLE_ASCII.fullmatch(text):
        raise ValueError(f"the {what} contains a space or a character that no header may have: create another")
    if KEY_PREFIX in text:
        raise ValueError(f"this is a Charge key: create a separate {what}")
    if len(text) < MIN_TOKEN_LENGTH:
        raise ValueError(
            f"the {what} has fewer than {MIN_TOKEN_LENGTH} characters: create one with `openssl rand -hex 24`"
        )
    return Secret(text)


def _read(path: pathlib.Path, *, where: str, what: str, shown: str, remedy: str = "") -> str:
    """Return the content of a file. `what` is what it should contain, `shown` how messages name it."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could block forever
            raise _error(where, f"cannot read the file {shown} (not a regular file)", remedy=remedy)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid path"
        raise _error(where, f"cannot read the file {shown} ({reason})", remedy=remedy) from None
    if len(data) > MAX_BYTES:
        raise _error(where, f"the file {shown} contains more than {what}: write only that to it", remedy=remedy)
    return data.decode("ascii", "replace")


def _key_error(where: str, message: str) -> SettingsError:
    return _error(where, message, remedy=_KEY_REMEDY)


def _error(where: str, message: str, *, remedy: str = "") -> SettingsError:
    return SettingsError([Problem(where, message)], remedy=remedy)
