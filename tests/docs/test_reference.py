"""docs/reference/ is true: tables are compared with the code, examples are run and read."""

import datetime
import json
import pathlib
import re
import shutil
import signal
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import anyio
import click
import pytest

from tests.docs import pages, sessions
from tests.support import command, file_sources
from worker.accounts import registry
from worker.cli import accounts, findings, main
from worker.core.model.desired import Origin, SourceRevision
from worker.core.model.errors import FleetSyncError, Stopped
from worker.core.model.identifiers import Account, DriverId, FleetId, RunId
from worker.core.model.outcomes import ChangeResult, Refused
from worker.core.model.people import Person
from worker.core.model.plan import Action, Change, Cost, GuardedPlan, HeldChange
from worker.core.model.ports import PastApproval, PastRun
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.model.serialization import failure_document, past_run_document, plan_document, report_document
from worker.core.model.source_history import ShrunkSource
from worker.sandbox import app
from worker.settings import account_folder, model, section, source_kinds, source_sections

COMMANDS = pages.page("docs/reference/commands.md")
SETTINGS = pages.page("docs/reference/settings.md")
DOCUMENTS = pages.page("docs/reference/documents.md")
JSON = pages.page("docs/reference/json.md")
NONE = "\N{EN DASH}"
DRIVER, FLEET = DriverId(f"drv_{'d' * 32}"), FleetId(f"flt_{'f' * 32}")
NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)


def test_the_examples_of_commands_work_as_shown(sandbox: tuple[command.Running, str], tmp_path: pathlib.Path) -> None:
    found = re.search(r"(http://127\.0\.0\.1:(\d+)/v1)", sandbox[1])
    assert found
    account = tmp_path / "account"
    shutil.copytree(pages.ROOT / "config", account / "config", ignore=shutil.ignore_patterns("*.db*"))
    environ = {"CHARGE_API_KEY": app.KEY, "FLEET_SYNC_CHARGE__BASE_URL": found[1]}
    session = sessions.Session(account, found[2], environ)
    session.run("fleet-sync export > config/membership.yaml", interrupt=False)
    for block in COMMANDS.blocks("console", "diff"):
        if block.language == "diff":
            session.edit(block, "config/membership.yaml")
        else:
            session.play(block)


def test_the_settings_table_has_every_key_with_its_default() -> None:
    assert dict(_documented_settings()) == dict(_settings(model.Settings))


def test_the_table_of_a_folder_of_accounts_has_every_key_with_its_default() -> None:
    documented = dict(_defaults(SETTINGS.section("## A folder of accounts")))
    sections: dict[str, type[section.Section]] = {"secrets": account_folder.Secrets, "cluster": account_folder.Cluster}
    assert documented == {key: default for name, each in sections.items() for key, default in _keys(name, each)}


@pytest.mark.parametrize("kind", [kind for kind in source_kinds.KINDS if kind != "file"])
def test_the_table_of_a_kind_has_its_own_keys_with_their_defaults(kind: str) -> None:
    common = source_sections.DocumentSource.model_fields
    fields = source_kinds.KINDS[kind].model_fields
    own = {key: None if field.is_required() else field.default for key, field in fields.items() if key not in common}
    documented = SETTINGS.section("## Kinds of sources").section(f"### {kind}")
    assert dict(_defaults(documented)) == {
        key: list(default) if isinstance(default, tuple) else default for key, default in own.items()
    }


def _documented_settings() -> Iterator[tuple[str, object]]:
    yield from _defaults(pages.Page(SETTINGS.path, SETTINGS.text.partition("\n## ")[0]))


def _defaults(page: pages.Page) -> Iterator[tuple[str, object]]:
    for key, default, _ in page.rows():
        text = default.strip("`")
        yield key.strip("`"), None if text == NONE else tomllib.loads(f"value = {text}")["value"]


def _settings(sections: type[model.Settings]) -> Iterator[tuple[str, object]]:
    for name, field in sections.model_fields.items():
        if name == "plugins":
            yield name, list(field.default)
            continue
        keys = source_kinds.FileSource if name == "sources" else model.SECTIONS[name]
        yield from _keys(name, keys)


def _keys(name: str, described: type[section.Section]) -> Iterator[tuple[str, object]]:
    for key, field in source_sections.keys(described).items():
        if name == "sources" and key in source_sections.SUBSECTIONS:
            yield from _keys(f"{name}.{key}", source_sections.SUBSECTIONS[key])
            continue
        default = None if field.is_required() else field.default
        yield f"{name}.{key}", list(default) if isinstance(default, tuple) else default


def test_the_table_of_commands_is_the_command_line() -> None:
    rows = list(COMMANDS.section("## Summary").rows())
    assert [row[0].strip("`") for row in rows] == list(main.COMMANDS)
    for name, text in ((row[0].strip("`"), row[1]) for row in rows):
        offered = {option for each in _command(name).params for option in each.opts if option.startswith("--")}
        assert offered == set(re.findall(r"--[a-z-]+", text)), name


def _command(name: str) -> click.Command:
    found = main.cli.get_command(click.Context(main.cli), name)
    assert found is not None
    return found


def test_the_table_of_exit_codes_is_complete() -> None:
    codes = {int(row[0]) for row in COMMANDS.section("## Exit codes").rows()}
    signals = {128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM}
    assert codes == {0, 1, 2, 3, 4, main.USAGE, *signals}
    assert {kind.exit_code for kind in _tree(FleetSyncError)} <= codes


def _tree(kind: type[FleetSyncError]) -> Iterator[type[FleetSyncError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


ALICE = "alice.of.nowhere@example.com"


@pytest.mark.parametrize(
    ("arguments", "remove", "add", "code"),
    [
        (["once"], 0, 0, 0),
        (["plan"], 1, 0, 0),
        (["--config", "nowhere.toml", "once"], 0, 0, 1),
        (["plan", "--detailed-exitcode"], 1, 0, 2),
        (["plan"], 20, 0, 3),
        (["plan", "--detailed-exitcode"], 20, 0, 3),
        (["plan"], 0, 1, 4),
        (["plan", "--detailed-exitcode"], 20, 1, 4),
        (["once"], 20, 0, 3),
        (["once"], 0, 1, 4),
        (["once"], 20, 1, 4),
        (["once", "--no-such-option"], 0, 0, 64),
    ],
)
def test_each_exit_code_means_what_the_table_says(
    sandbox: tuple[command.Running, str],
    tmp_path: pathlib.Path,
    arguments: list[str],
    remove: int,
    add: int,
    code: int,
) -> None:
    """Remove `remove` drivers from the last fleet, and add `add` unknown ones to the first."""
    found = re.search(r"http://\S+/v1", sandbox[1])
    assert found
    folder = command.Folder(tmp_path, found[0])
    rows = folder.run("export").stdout.splitlines()
    rows = rows[: len(rows) - remove]
    if add:
        rows.insert(2, f"    - {ALICE}")
    folder.write("\n".join([*rows, ""]))
    assert folder.run(*arguments).code == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_service_with_its_exit_code(
    sandbox: tuple[command.Running, str], tmp_path: pathlib.Path, number: signal.Signals
) -> None:
    found = re.search(r"http://\S+/v1", sandbox[1])
    assert found
    folder = command.Folder(tmp_path, found[0])
    folder.write(folder.run("export").stdout)
    with folder.started("run") as running:
        assert running.process.stderr is not None
        assert "run_finished" in running.process.stderr.readline()
        running.signal(number)
        assert running.end().code == 128 + number


def test_the_sample_documents_are_valid(tmp_path: pathlib.Path) -> None:
    blocks = DOCUMENTS.blocks()
    assert {block.language for block in blocks} == {"yaml", "json", "toml", "csv"}
    for block in blocks:
        path = tmp_path / f"membership.{block.language}"
        path.write_text(block.text)
        assert anyio.run(file_sources.of(path, path.name).read).rows


def test_the_json_documents_have_the_documented_shape() -> None:
    shown = [json.loads(block.text) for block in JSON.blocks("json")]
    finished = _report()
    assert finished.guarded is not None and finished.error is not None
    past = PastRun(finished.run, "once", NOW, NOW, "partial", 4, {}, PastApproval("sha256:ab", "Ada Lovelace", NOW))
    listed = {"runs": [{**past_run_document(past), "names": {"drv_…": "Emma Bakker"}}]}
    documents = (
        plan_document(finished.guarded),
        report_document(finished),
        listed,
        failure_document(finished.error),
        findings.document(findings.errors(finished.problems, pathlib.Path()), exit_code=1),
        accounts.document([registry.RegisteredAccount("acme", "in_sync", "In sync", NOW, NOW, 0, 41, None)]),
    )
    made = [dict(document) for document in documents]
    assert [document.get("format") for document in shown] == [document.get("format") for document in made]
    plan, whole, *others = zip(shown, made, strict=True)
    for document in others:
        assert _shape(document[0]) == _shape(document[1])
    for part in ("plan", "error"):
        assert whole[0].pop(part) is None
        whole[1].pop(part)
    assert whole[0].pop("problems") == []
    whole[1].pop("problems")
    for document in (plan, whole):  # an object by id
        assert list(document[0].pop("names").values()) == list(document[1].pop("names").values())
    assert _shape(whole[0]) == _shape(whole[1])
    assert _shape(plan[0]) == _shape(plan[1])


def _shape(document: Any) -> Any:
    """Return the names and their order; of a list, its first item."""
    if isinstance(document, Mapping):
        return {name: _shape(each) for name, each in document.items()}, list(document)
    return [_shape(each) for each in document[:1]] if isinstance(document, list) else None


def _report() -> Report:
    change = Change(Action.ATTACH, DRIVER, FLEET, Origin("membership.yaml", 1, 1))
    problem = Problem("membership.yaml:1:1", "…")
    guarded = GuardedPlan(
        account=Account("https://api.chargeapi.co/v1", "live"),
        created=NOW,
        sources=(SourceRevision("file", "membership.yaml", "sha256:…", 1),),
        changes=(change,),
        held=(HeldChange(change, "max_detach_fraction", "…"),),
        problems=(problem,),
        in_sync=0,
        fleets=1,
        drivers=1,
        cost=Cost(1, 0.1),
        digest="sha256:…",
        people={DRIVER: Person("Emma Bakker")},
        fleet_names={FLEET: "Paris vans"},
        shrunk=(ShrunkSource("membership.yaml", 1, 9, "…"),),
    )
    result = ChangeResult(change, Refused(1, "policy_blocked", "…", "req_1"))
    failure = Stopped("…", exit_code=143)
    run = RunId("run_1")
    return Report(run, NOW, NOW, guarded, results=(result,), problems=(problem,), error=failure)
