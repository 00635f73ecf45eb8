"""`fleet-sync init`: writes the files of a new account: settings, and a membership document.

Invariant: no file is overwritten: if one of the two exists, neither is written. Neighbours: `settings.sample` has the
texts, `sources.export` writes what Charge holds.
"""

import dataclasses
import functools
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from worker.cli import command_line, context, help_page
from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem

if TYPE_CHECKING:
    from worker.service import composition
    from worker.settings import model

_DOCUMENT = "membership.yaml"

_EXAMPLES = """\
fleet-sync init
fleet-sync init --from-account
fleet-sync --config acme/fleet-sync.toml init
fleet-sync --config accounts --account acme init"""


@dataclasses.dataclass(frozen=True, slots=True)
class _NewAccount:
    """The files of an account that is to be made, what the first one will say, and what to do about its key."""

    path: pathlib.Path
    document: pathlib.Path
    text: str
    settings: "model.Settings"
    key: str = ""

    @property
    def files(self) -> tuple[pathlib.Path, pathlib.Path]:
        """Return the files that are written."""
        return self.path, self.document


@click.command(cls=help_page.Command, epilog=_EXAMPLES)
@click.option("--from-account", "from_account", is_flag=True, help="Write the memberships that Charge holds now.")
@click.pass_obj
def init(command_context: context.CommandContext, from_account: bool) -> int:
    """Write a settings file and a membership document, and overwrite neither.

    The settings go to the file of --config, the document beside it. In a folder of accounts, they are NAME.toml and
    NAME.yaml. Without --from-account the document is a sample. $FLEET_SYNC_CHARGE__BASE_URL, if it is set, becomes
    `charge.base_url`.
    """
    return command_context.report_errors(lambda: _init(command_context, from_account=from_account))


def _init(command_context: context.CommandContext, *, from_account: bool) -> int:
    new = _account_of_folder(command_context) if command_context.is_folder else _account_alone(command_context)
    if problems := [Problem(str(file), "this file exists already") for file in new.files if os.path.lexists(file)]:
        raise SettingsError(
            problems, remedy="Nothing was written. Move what exists away, or name another place: --config FILE."
        )
    if not from_account:
        from worker.settings import sample

        return _write(new, sample.MEMBERSHIP, edit=f"Write your fleets and drivers into {new.document}. Then:")
    return command_context.with_account(functools.partial(_write_account, new=new), settings=new.settings)


def _account_alone(command_context: context.CommandContext) -> _NewAccount:
    """Return an account whose settings have the overrides of the environment."""
    from worker.settings import loader, model, sample, secrets

    command_context.require_no_account()
    path = pathlib.Path(command_context.config)
    with tempfile.TemporaryDirectory(prefix="fleet-sync-init-") as folder:
        draft = pathlib.Path(folder) / "fleet-sync.toml"
        draft.write_text(sample.settings(model.Charge().base_url, document=_DOCUMENT), encoding="utf-8")
        settings = loader.load(draft, os.environ).in_folder(path.parent)
    text = sample.settings(settings.charge.base_url, document=_DOCUMENT)
    charge, variables = settings.charge, (secrets.KEY_VARIABLE, secrets.KEY_FILE_VARIABLE)
    has_key = charge.api_key_file or charge.api_key_command or any(map(os.environ.get, variables))
    key = "" if has_key else "export CHARGE_API_KEY=…  # your secret key"
    return _NewAccount(path, path.with_name(_DOCUMENT), text, settings, key)


def _account_of_folder(command_context: context.CommandContext) -> _NewAccount:
    """Return an account of a folder, with the address of the defaults and the key of `[secrets]`."""
    from worker.settings import account_folder, loader, sample

    name, folder = command_context.require_account(), command_context.account_folder()
    if command_context.has_cluster:
        raise click.UsageError("the accounts of a cluster are added with `fleet-sync accounts add NAME --file FILE`")
    defaults, path = account_folder.read_defaults(folder), account_folder.path_of(folder, name)

    def parsed(text: str) -> "model.Settings":
        layer = loader.parse(str(path), text.encode())
        return account_folder.of_folder(name, layer, folder=folder, defaults=defaults)

    document = path.with_suffix(".yaml")
    url = parsed("sources = [{path = 'any.yaml'}]").charge.base_url
    text = sample.settings(url, document=document.name, in_folder=True)
    settings = parsed(text)
    return _NewAccount(path, document, text, settings, _key_step(settings))


def _key_step(settings: "model.Settings") -> str:
    """Return what to do with the key of an account of a folder, as one line of a shell; empty for nothing."""
    place = settings.key_place
    if place is None or place.command:
        return ""
    if place.variable:
        return f"export {place.variable}=…  # its secret key"
    return f"# write its secret key to {settings.resolve_path(place.file)}"


async def _write_account(account: "composition.AccountRuntime", *, new: _NewAccount) -> int:
    from worker.sources import export

    actual = await account.new_plan_builder().export()
    document = export.write(actual, form="yaml", by="id")
    done = dataclasses.replace(new, key="")  # it was just read
    return _write(done, document, edit="Remove the fleets that you do not want managed. Then:")


def _write(new: _NewAccount, document: str, *, edit: str) -> int:
    """Write both files or neither, and say what to do next. Raise errors.SettingsError if one cannot be written."""
    written: list[pathlib.Path] = []
    for path, text in zip(new.files, (new.text, document), strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:  # "x": a file that was made meanwhile is not overwritten
                written.append(path)
                file.write(text)
        except OSError as error:
            for each in written:
                each.unlink()
            problem = Problem(str(path), f"this file cannot be written ({error.strerror})")
            raise SettingsError(
                [problem], remedy="Nothing was written. Choose another place: --config FILE."
            ) from error
    context.print_text("\n".join(_next_steps(new, edit=edit)))
    return 0


def _next_steps(new: _NewAccount, *, edit: str) -> Iterator[str]:
    yield f"Wrote {new.path} and {new.document}."
    yield edit
    if new.key:
        yield f"  {new.key}"
    yield f"  {command_line.command('check', '--online')}"
    yield f"  {command_line.command('plan')}"
