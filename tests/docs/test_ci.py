"""docs/ci.md, the action and the hook: YAML that parses, commands and options that exist, steps that work."""

import pathlib
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.docs import pages
from tests.support import command
from worker.cli import main
from worker.sandbox import app

CI = pages.page("docs/ci.md")
ACTION = yaml.safe_load((pages.ROOT / "action.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((pages.ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}


def _scripts(document: Any) -> Iterator[str]:
    """Yield every script in a document of a forge."""
    if isinstance(document, list):
        for each in document:
            yield from _scripts(each)
    elif isinstance(document, dict):
        for key, value in document.items():
            if key in ("run", "entry") and isinstance(value, str):
                yield value
            elif key == "script":
                yield from value
            else:
                yield from _scripts(value)


def _calls(script: str) -> Iterator[list[str]]:
    """Yield the arguments of every call of fleet-sync in a script."""
    for line in script.replace("\\\n", " ").splitlines():
        for call in re.findall(r"(?:^|[;|&]\s*|`)fleet-sync ([^>|&;`]+)", line.strip()):
            yield shlex.split(call)


def _parse(arguments: list[str]) -> None:
    """Fail unless the command and its options exist."""
    with main.cli.make_context("fleet-sync", arguments) as context:
        called, found, rest = main.cli.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        found.make_context(called, rest, parent=context).close()


def test_every_example_parses_and_calls_commands_that_exist() -> None:
    documents = [yaml.safe_load(block.text) for block in CI.blocks("yaml")]
    assert len(documents) == 4
    scripts = [*_scripts(documents), *_scripts(ACTION), *_scripts(HOOKS)]
    calls = [call for script in scripts for call in _calls(script)]
    assert {call[0] for call in calls} == {"check", "plan", "once"}
    assert len(calls) == 7
    for call in calls:
        _parse(call)


def test_every_command_in_the_text_exists() -> None:
    codes = re.findall(r"`(fleet-sync [a-z][^`]*)`", CI.prose())
    assert codes
    for code in codes:
        for call in _calls(code):
            _parse([word.replace("DIGEST", f"sha256:{'0' * 64}") for word in call])


def test_only_a_job_with_a_lasting_journal_applies() -> None:
    """In CI a journal in a file is new in every run."""
    applying = [block.text for block in CI.blocks("yaml") if "fleet-sync once" in block.text]
    assert len(applying) == 2
    assert "FLEET_SYNC_JOURNAL__URL: ${{ secrets.FLEET_SYNC_JOURNAL_URL }}" in applying[0]
    assert "`FLEET_SYNC_JOURNAL__URL`, which the job `apply` needs" in CI.text
    assert not any(call[0] in ("once", "apply", "run") for script in _scripts(ACTION) for call in _calls(script))


def test_the_page_uses_the_inputs_and_outputs_of_the_action() -> None:
    steps = [step for block in CI.blocks("yaml") for step in _steps(yaml.safe_load(block.text))]
    given = {name for step in steps if "fleet-sync@" in step.get("uses", "") for name in step.get("with", {})}
    assert given == set(ACTION["inputs"])
    assert set(CI.section("## On GitHub").codes()) == set(ACTION["outputs"])
    assert set(re.findall(r"steps\.fleet-sync\.outputs\.([\w-]+)", CI.text)) <= set(ACTION["outputs"])


def _steps(document: Any) -> list[dict[str, Any]]:
    jobs = document.get("jobs", {}) if isinstance(document, dict) else {}
    return [step for job in jobs.values() for step in job["steps"]]


def test_no_input_is_written_into_a_script() -> None:
    """It could be a command."""
    assert all("${{" not in step["run"] for step in STEPS.values())


def test_the_hook_of_the_page_is_one_that_the_repository_offers() -> None:
    [used] = [yaml.safe_load(block.text) for block in CI.blocks("yaml") if "\nrepos:" in f"\n{block.text}"]
    assert {hook["id"] for repo in used["repos"] for hook in repo["hooks"]} == {hook["id"] for hook in HOOKS}


@pytest.fixture
def account(sandbox: tuple[command.Running, str], tmp_path: pathlib.Path) -> command.Folder:
    """Return a folder with a document that matches the sandbox."""
    found = re.search(r"http://\S+/v1", sandbox[1])
    assert found
    folder = command.Folder(tmp_path, found[0])
    folder.write(folder.run("export").stdout)
    return folder


def _step(name: str, account: command.Folder, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a step of the action as the runner does."""
    runner = {
        "PATH": f"{command.PROGRAM.parent}:/usr/bin:/bin",
        "RUNNER_TEMP": str(account.path),
        "GITHUB_STEP_SUMMARY": str(account.path / "summary.md"),
        "GITHUB_OUTPUT": str(account.path / "output"),
        "FLEET_SYNC_CONFIG": account.settings.name,
    }
    return subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", STEPS[name]["run"]],
        env={**command.environment(runner), **environ},
        cwd=account.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize(
    ("remove", "add", "exit_code", "fails"),
    [(0, "", 0, False), (1, "", 2, False), (20, "", 3, False), (0, "nobody@example.com", 4, True)],
)
def test_the_plan_of_the_action_is_in_the_job_summary(
    account: command.Folder, remove: int, add: str, exit_code: int, fails: bool
) -> None:
    rows = (account.path / "membership.yaml").read_text().splitlines()
    rows = rows[: len(rows) - remove]
    if add:
        rows.insert(2, f"    - {add}")
    account.write("\n".join([*rows, ""]))
    ended = _step("Plan", account, CHARGE_API_KEY=app.KEY)
    assert ended.returncode == (exit_code if fails else 0), ended.stderr
    plan = account.path / "fleet-sync-plan.md"
    summary = (account.path / "summary.md").read_text()
    assert summary == plan.read_text() and summary.startswith("**")
    assert (account.path / "output").read_text() == f"plan={plan}\nexit-code={exit_code}\n"


def test_the_check_of_the_action_annotates_and_needs_no_key(account: command.Folder) -> None:
    assert _step("Check", account).returncode == 0
    account.write("fleets:\n  Vans:\n    - drv_short\n")
    ended = _step("Check", account)
    assert ended.returncode == 1
    assert ended.stdout.startswith("::error file=membership.yaml,line=3,col=7,title=fleet-sync::")
