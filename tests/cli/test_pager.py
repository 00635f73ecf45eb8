"""When a text goes through the pager."""

import os
import sys

import click
import pytest

from tests.support import terminals
from worker.cli import pager


@pytest.mark.parametrize(
    ("rows", "stdin", "stdout", "term", "pages"),
    [
        (3, True, True, "xterm", True),  # the prompt needs a row too
        (4, True, True, "xterm", False),
        (1, True, True, "xterm", True),
        (0, True, True, "xterm", False),  # a terminal that does not know its size
        (3, False, True, "xterm", False),
        (3, True, False, "xterm", False),
        (3, True, True, "dumb", False),
    ],
)
def test_a_text_goes_through_the_pager_where_people_read_it_and_it_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, rows: int, stdin: bool, stdout: bool, term: str, pages: bool
) -> None:
    shown: list[str] = []
    output = terminals.Stream(is_terminal=stdout)
    monkeypatch.setattr(sys, "stdin", terminals.Stream(is_terminal=stdin))
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(os, "get_terminal_size", lambda _number: os.terminal_size((80, rows)))
    monkeypatch.setattr("subprocess.run", lambda _program, input, **_options: shown.append(input))
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("PAGER", "cat")
    with click.Context(click.Command("plan")):
        pager.show("one\ntwo\nthree")
    assert (shown, output.getvalue()) == ((["one\ntwo\nthree\n"], "") if pages else ([], "one\ntwo\nthree\n"))


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("less -S", ["less", "-S"]),
        ("", ["less"]),
        ("'unbalanced", ["less"]),
        (" ", []),
        ("not-installed", []),
    ],
)
def test_the_pager_is_the_operators_or_less(monkeypatch: pytest.MonkeyPatch, command: str, program: list[str]) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name == "not-installed" else f"/usr/bin/{name}")
    assert pager._program({"PAGER": command}) == program


def test_options_of_the_operator_win_and_no_secret_is_passed_on() -> None:
    assert pager._environment({"LESS": "-S", "CHARGE_API_KEY": "k", "FLEET_SYNC_PLAN_KEY": "p"}) == {"LESS": "-S"}
    assert pager._environment({}) == {"LESS": "FRX"}


@pytest.mark.parametrize(("color", "expected"), [(None, "\x1b[31mone\x1b[0m\ntwo\n"), (False, "one\ntwo\n")])
def test_what_goes_through_the_pager_has_colors_unless_they_are_refused(
    monkeypatch: pytest.MonkeyPatch, color: bool | None, expected: str
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(sys, "stdin", terminals.Stream())
    monkeypatch.setattr(sys, "stdout", terminals.Stream())
    monkeypatch.setattr(os, "get_terminal_size", lambda _number: os.terminal_size((80, 1)))
    monkeypatch.setattr("subprocess.run", lambda _program, input, **_options: shown.append(input))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PAGER", "cat")
    context = click.Context(click.Command("plan"))
    context.color = color
    with context:
        pager.show("\x1b[31mone\x1b[0m\ntwo")
    assert shown == [expected]


def test_a_pager_that_fails_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as less after Ctrl+C: the plan was made, and was shown."""
    monkeypatch.setattr(sys, "stdin", terminals.Stream())
    output = terminals.Stream()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(os, "get_terminal_size", lambda _number: os.terminal_size((80, 1)))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PAGER", "false")
    with click.Context(click.Command("plan")):
        pager.show("one\ntwo")
    assert output.getvalue() == "", "it is not printed a second time"
