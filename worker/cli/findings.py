"""Formats what `check` finds: as text, as a document, or as annotations of a run on GitHub.

Invariant: a text from a document cannot start another command of the runner, nor end its own. Neighbours: `check`
collects the findings.
"""

import dataclasses
import enum
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

from worker.cli import layout
from worker.core.model.problem import Problem

FORMAT = "fleet-sync/check@1"

_PLACE = re.compile(r"(.*):([0-9]{1,9}):([0-9]{1,9})", re.DOTALL)


class Level(enum.StrEnum):
    """How serious a finding is, in the words of GitHub."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """A problem with its level. The file in its place is relative to `folder`."""

    level: Level
    problem: Problem
    folder: pathlib.Path


def errors(problems: Iterable[Problem], folder: pathlib.Path) -> list[Finding]:
    """Return findings of problems that have to be solved, and of notes among them."""
    return [Finding(Level.NOTICE if problem.note else Level.ERROR, problem, folder) for problem in problems]


def warnings(problems: Iterable[Problem], folder: pathlib.Path) -> list[Finding]:
    """Return findings of problems that perhaps have to be solved, and of notes among them."""
    return [Finding(Level.NOTICE if problem.note else Level.WARNING, problem, folder) for problem in problems]


def text(finding: Finding) -> str:
    """Return a finding as `file:line:column: message`."""
    return layout.printable(str(finding.problem))


def document(findings: Iterable[Finding], *, exit_code: int) -> dict[str, Any]:
    """Return findings as `fleet-sync/check@1`."""
    listed = [
        {"level": each.level.value, "where": each.problem.where, "message": each.problem.message} for each in findings
    ]
    return {"format": FORMAT, "exit_code": exit_code, "problems": listed}


def annotation(finding: Finding) -> str:
    """Return a finding as a command of GitHub's runner, which shows it at its line of a pull request."""
    found = _PLACE.fullmatch(finding.problem.where)
    if not found:
        return f"::{finding.level.value} title=fleet-sync::{_data(text(finding))}"
    name, line, column = found.groups()
    file = _property(layout.printable(os.path.relpath(finding.folder / layout.printable(name))))
    place = f"file={file},line={line},col={column},title=fleet-sync"
    return f"::{finding.level.value} {place}::{_data(layout.printable(finding.problem.message))}"


def _data(message: str) -> str:
    """Return a text in which the runner finds neither the end of its command nor an escape."""
    return message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    """Return the value of a property, in which the runner also finds no next property."""
    return _data(value).replace(":", "%3A").replace(",", "%2C")
