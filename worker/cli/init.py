"""`fleet-sync init`: writes the files of a new account: settings, and a membership document.

Invariant: no file is overwritten: if one of the two exists, neither is written. Neighbours: `settings.sample` has the
texts, `sources.export` writes what Charge holds.
"""

import functools
import os
import pathlib
import shlex
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from worker.cli import context, help_page
from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem

if TYPE_CHECKING:
    from worker.service import composition
    from worker.settings import model

_DOCUMENT = "membership.yaml"

_EXAMPLES = """\
fleet-sync init
fleet-sync init --from-account
fleet-sync --config customers/acme.toml init"""


@click.command(cls=help_page.Command, epilog=_EXAMPLES)
@click.option("--from-account", "from_account", is_flag=True, help="Write the memberships that Charge holds now.")
@click.pass_obj
def init(command_context: context.CommandContext, from_account: bool) -> int:
    """Write a settings file and a membership document, and overwrite neither.

    The settings go to the file of --config, the document beside it. Without --from-account the document is a sample.
    $FLEET_SYNC_CHARGE__BASE_URL, if it is set, becomes `charge.base_url`.
    """
    return command_context.report_errors(lambda: _init(command_context, from_account=from_account))


def _init(command_context: context.CommandContext, *, from_account: bool) -> int:
    from worker.settings import sample

    path = pathlib.Path(command_context.config)
    files = (path, path.with_name(_DOCUMENT))
    if problems := [Problem(str(file), "this file exists already") for file in files if os.path.lexists(file)]:
        raise SettingsError(problems, remedy="Nothing was written. Move it away, or name another place: --config FILE.")
    settings = _sample_settings()
    text = sample.settings(settings.charge.base_url, document=_DOCUMENT)
    if not from_account:
        return _write(files, (text, sample.MEMBERSHIP), edit=f"Write your fleets and drivers into {files[1]}. Then:")
    work = functools.partial(_write_account, files=files, settings_text=text)
    return command_context.with_account(work, settings=settings)


def _sample_settings() -> "model.Settings":
    """Return the settings that a new file has, with the overrides of the environment."""
    from worker.settings import loader, model, sample

    with tempfile.TemporaryDirectory(prefix="fleet-sync-init-") as folder:
        path = pathlib.Path(folder) / "fleet-sync.toml"
        path.write_text(sample.settings(model.Charge().base_url, document=_DOCUMENT), encoding="utf-8")
        return loader.load(path, os.environ)


async def _write_account(
    account: "composition.AccountRuntime", *, files: tuple[pathlib.Path, pathlib.Path], settings_text: str
) -> int:
    from worker.sources import export

    actual = await account.new_plan_builder().export()
    document = export.write(actual, form="yaml", by="id")
    return _write(files, (settings_text, document), edit="Remove the fleets that you do not want managed. Then:")


def _write(files: tuple[pathlib.Path, pathlib.Path], texts: tuple[str, str], *, edit: str) -> int:
    """Write both files or neither, and say what to do next. Raise errors.SettingsError if one cannot be written."""
    written: list[pathlib.Path] = []
    for path, text in zip(files, texts, strict=True):
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
    context.print_text("\n".join(_next_steps(*files, edit=edit)))
    return 0


def _next_steps(settings_path: pathlib.Path, document_path: pathlib.Path, *, edit: str) -> Iterator[str]:
    from worker.cli import main

    default = settings_path == pathlib.Path(main.DEFAULT_CONFIG)
    command = "fleet-sync" if default else f"fleet-sync --config {shlex.quote(str(settings_path))}"
    yield f"Wrote {settings_path} and {document_path}."
    yield edit
    if not os.environ.get("CHARGE_API_KEY"):
        yield "  export CHARGE_API_KEY=…  # your secret key"
    yield f"  {command} check --online"
    yield f"  {command} plan"
