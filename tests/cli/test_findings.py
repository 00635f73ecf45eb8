"""Findings as annotations: nothing in a document becomes a command of GitHub's runner."""

import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cli import findings
from worker.core.model.problem import Problem

HERE = pathlib.Path()


def _annotation(where: str, message: str) -> str:
    [finding] = findings.errors([Problem(where, message)], HERE)
    return findings.annotation(finding)


def test_an_annotation_names_file_line_and_column() -> None:
    assert _annotation("teams/paris.yaml:12:7", "not a driver") == (
        "::error file=teams/paris.yaml,line=12,col=7,title=fleet-sync::not a driver"
    )


def test_what_has_no_line_has_no_file() -> None:
    assert _annotation("CHARGE_API_KEY", "no secret key") == "::error title=fleet-sync::CHARGE_API_KEY: no secret key"


def test_notes_are_notices() -> None:
    note = Problem("a.yaml:1:1", "also listed elsewhere", note=True)
    assert [each.level for each in findings.errors([note], HERE)] == [findings.Level.NOTICE]
    assert [each.level for each in findings.warnings([note], HERE)] == [findings.Level.NOTICE]
    assert [each.level for each in findings.warnings([Problem("a", "b")], HERE)] == [findings.Level.WARNING]


@pytest.mark.parametrize(
    ("where", "message", "expected"),
    [
        ("a,line=1::x.yaml:1:2", "m", "file=a%2Cline=1%3A%3Ax.yaml,line=1,col=2,title=fleet-sync::m"),
        ("a.yaml:1:2", "100%0Ax\n::set-output name=x::y", "::100%250Ax\ufffd::set-output name=x::y"),
    ],
)
def test_separators_and_escapes_are_escaped(where: str, message: str, expected: str) -> None:
    assert _annotation(where, message).endswith(expected)


@given(st.text(), st.text())
def test_an_annotation_is_one_line_and_one_command(name: str, message: str) -> None:
    line = _annotation(f"x{name}:1:2", message)
    assert len(line.splitlines()) == 1
    assert re.match(r"::error (file=[^,:]*,line=1,col=2,)?title=fleet-sync::", line)
    assert not re.search(r"%(?!25|0D|0A|3A|2C)", line)


def test_findings_are_a_document_too() -> None:
    found = [
        *findings.errors([Problem("a.yaml:1:1", "no\x1b such driver")], HERE),
        *findings.warnings([Problem("hr", "it has no scope"), Problem("a.yaml:2:1", "twice", note=True)], HERE),
    ]
    assert findings.document(found, exit_code=1) == {
        "format": "fleet-sync/check@1",
        "exit_code": 1,
        "problems": [
            {"level": "error", "where": "a.yaml:1:1", "message": "no\x1b such driver"},
            {"level": "warning", "where": "hr", "message": "it has no scope"},
            {"level": "notice", "where": "a.yaml:2:1", "message": "twice"},
        ],
    }
