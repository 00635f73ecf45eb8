"""Commands that are printed to be pasted carry the options of the call that say which account is meant."""

import ast
import pathlib
import re

import click
import pytest

from tests.docs import pages
from worker.cli import command_line, layout, main

DIGEST = f"sha256:{'0' * 64}"
FILE = ["--config", "acme.toml"]
FOLDER = ["--config=my accounts", "--account", "acme"]
_COMMAND = re.compile(rf"fleet-sync (?:--\w|(?:{'|'.join(main.COMMANDS)})\b)")
_IN_BACKTICKS = re.compile(r"`[^`]*`")
_FOR_PEOPLE_ELSEWHERE = {
    pages.ROOT / "worker" / name for name in ("core/monitoring/notifications.py", "web/templating.py")
}
"""Notifications and pages are read on other machines: they name the account, if there are several, but no file."""


def _call(options: list[str], name: str, *rest: str) -> click.Context:
    """Return the context of a command as it was called."""
    root = main.cli.make_context("fleet-sync", [*options, name])
    called = main.cli.get_command(root, name)
    assert called is not None
    return called.make_context(name, list(rest), parent=root)


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ([], f"fleet-sync approve {DIGEST}"),
        (FILE, f"fleet-sync --config acme.toml approve {DIGEST}"),
        (FOLDER, f"fleet-sync --config 'my accounts' --account acme approve {DIGEST}"),
    ],
    ids=["default", "file", "folder"],
)
def test_a_command_is_for_the_account_of_the_call(options: list[str], printed: str) -> None:
    with _call(options, "plan", "--adopt-journal"):
        assert command_line.command("approve", DIGEST) == printed


def test_what_the_environment_says_needs_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_SYNC_CONFIG", "acme.toml")
    with _call([], "plan"):
        assert command_line.command("once") == "fleet-sync once"


def test_a_command_that_would_refuse_the_journal_adopts_it_too() -> None:
    with _call(FILE, "plan", "--adopt-journal"):
        assert command_line.command("apply", "a plan.json") == (
            "fleet-sync --config acme.toml apply 'a plan.json' --adopt-journal"
        )


def test_every_command_that_can_adopt_a_journal_is_known() -> None:
    root = main.cli.make_context("fleet-sync", ["plan"])
    commands = {name: main.cli.get_command(root, name) for name in main.COMMANDS}
    adopting = {name for name, each in commands.items() if each and "adopt" in {option.name for option in each.params}}
    assert adopting == command_line.ADOPTING


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("then run `fleet-sync check`.", "then run `fleet-sync --config 'my accounts' --account acme check`."),
        ("`fleet-sync accounts list` lists them", "`fleet-sync --config 'my accounts' accounts list` lists them"),
        ("`fleet-sync worker` or `once`", "`fleet-sync --config 'my accounts' worker` or `once`"),
        ("another fleet-sync writes here", "another fleet-sync writes here"),
    ],
)
def test_a_command_in_a_message_is_completed(written: str, printed: str) -> None:
    """`worker` and `accounts` are about all accounts, and refuse --account."""
    ctx = _call(FOLDER, "once")
    assert command_line.completed(written, ctx) == printed
    with ctx:
        assert command_line.completed(written) == printed
    assert command_line.completed(written) == written


@pytest.mark.integration
def test_only_this_module_writes_commands_that_are_printed() -> None:
    """Elsewhere a command is in backticks, where `completed` finds it. The help has examples for other accounts."""
    found = [
        f"{path.relative_to(pages.ROOT)}:{line}: {text}"
        for path in sorted({*(pages.ROOT / "worker").rglob("*.py")} - _FOR_PEOPLE_ELSEWHERE)
        for line, text in _texts(path)
        if _COMMAND.search(_IN_BACKTICKS.sub("", text))
    ]
    assert found == []


def _texts(path: pathlib.Path) -> list[tuple[int, str]]:
    """Return the texts of a module without docstrings and examples."""
    left_out: set[int] = set()
    for node in pages.nodes(path):
        if isinstance(node, ast.Expr):
            left_out.add(id(node.value))
        if isinstance(node, ast.keyword) and node.arg == "epilog":
            left_out |= set(map(id, ast.walk(node.value)))
        if isinstance(node, ast.Assign) and path.parent.name == "cli" and ast.unparse(node.targets[0]).isupper():
            left_out |= set(map(id, ast.walk(node.value)))
        if isinstance(node, ast.JoinedStr):
            left_out |= set(map(id, node.values))
    texts = [
        node
        for node in pages.nodes(path)
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in left_out
    ]
    return [(node.lineno, "".join(map(_literal, getattr(node, "values", [node])))) for node in texts]


def _literal(part: ast.AST) -> str:
    return part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "{}"


def test_a_long_command_can_still_be_copied() -> None:
    """A quoted argument is not broken, and a command in a sentence stays on one line."""
    fitted = layout.fit(f"fleet-sync once --fleet 'Paris vans and bikes' --approve {DIGEST}", 40)
    assert fitted.split("\n")[1] == "    'Paris vans and bikes' --approve \\"
    fitted = layout.fit("Correct the settings, then run `fleet-sync --config customers/acme.toml check`.", 60)
    assert "\n    `fleet-sync --config customers/acme.toml check`." in fitted
