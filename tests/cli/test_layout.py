"""Lines that are too long for a terminal go on below, at a space."""

import io
import math
import os
import pathlib
import re
import shlex

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import terminals
from worker.cli import layout

DIGEST = f"sha256:{'0' * 64}"
_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1)
_LINES = st.lists(_WORDS, min_size=1, max_size=20).map(" ".join)


@given(_LINES, st.integers(min_value=20, max_value=120))
def test_a_line_keeps_its_words_and_is_too_wide_only_where_one_word_is(line: str, width: int) -> None:
    fitted = layout.fit(line, width).split("\n")
    assert [word for each in fitted for word in each.split(" ") if word] == line.split(" ")
    assert all(layout.cells(each) <= width or " " not in each.strip(" ") for each in fitted)


def test_what_fits_and_what_goes_to_no_terminal_stays_as_it_is() -> None:
    line = "  + Emma Bakker   drv_1  teams.yaml:1:2"
    assert layout.fit(line, len(line)) == line
    assert layout.fit(line * 10, math.inf) == line * 10


def test_a_line_goes_on_indented() -> None:
    assert layout.fit("  one two three four", 16) == "  one two three\n      four"


def test_what_two_spaces_set_apart_stays_on_one_line() -> None:
    assert layout.fit("when  who it is  what it was  why", 16) == "when  who it is\n    what it was\n    why"
    assert layout.fit("when  what is longer than a line", 16) == "when  what is\n    longer than\n    a line"


@given(st.lists(_LINES, min_size=1, max_size=8), st.integers(min_value=20, max_value=120))
def test_no_field_is_broken_that_fits_on_a_line(fields: list[str], width: int) -> None:
    fitted = layout.fit("  ".join(fields), width).split("\n")
    assert " ".join(fields).split(" ") == [word for each in fitted for word in each.split(" ") if word]
    for field in fields:
        assert layout.cells(field) > width - 4 or any(field in each for each in fitted)


def test_a_command_can_be_copied() -> None:
    fitted = layout.fit(f"  fleet-sync once --approve {DIGEST}", 80)
    assert fitted == f"  fleet-sync once --approve \\\n      {DIGEST}"
    said = "Saved to monday.json. To apply exactly this plan: fleet-sync apply monday.json"
    assert layout.fit(said, 78) == said
    assert layout.fit(said, 77) == said.replace(": ", ":\n    ")


@pytest.mark.parametrize(
    ("line", "width", "fitted"),
    [
        ("aaa  bbb ccc  ddd", 12, "aaa  bbb ccc\n    ddd"),
        ("aaa  bbb ccc  ddd", 11, "aaa\n    bbb ccc\n    ddd"),
        ("aaaaaa  bbbb ccc", 12, "aaaaaa\n    bbbb ccc"),
        ("  aaaa  bbbb ccc", 12, "  aaaa  bbbb\n      ccc"),
        ("fleet-sync plan --out x.json", 23, "fleet-sync plan --out \\\n    x.json"),
        ("fleet-sync plan --out x.json", 22, "fleet-sync plan \\\n    --out x.json"),
    ],
    ids=["just fits", "just does not", "field just fits", "indented", "command just fits", "command just does not"],
)
def test_a_line_is_used_to_its_last_column(line: str, width: int, fitted: str) -> None:
    assert layout.fit(line, width) == fitted


@pytest.mark.parametrize("name", ["Paris  vans", "it's  theirs", "three   spaces   each"])
def test_a_command_is_broken_in_no_argument(name: str) -> None:
    """In quotes, a backslash at the end of a line is a part of the name."""
    arguments = ["fleet-sync", "once", "--fleet", name, "--approve", "sha256:0"]
    for width in range(8, 60):
        fitted = layout.fit(f"  {shlex.join(arguments)}", width)
        assert shlex.split(fitted.replace("\\\n", "")) == arguments


def test_a_word_that_only_fits_without_its_indent_gets_less() -> None:
    fitted = layout.fit(f"  run_finished digest={DIGEST} held=1", 80)
    assert fitted.split("\n")[1] == f"  digest={DIGEST}"


def test_styles_take_no_room_and_some_characters_take_two_columns() -> None:
    styled = click.style("one", fg="red")
    assert layout.cells(styled) == 3
    assert layout.cells("山田") == 4
    assert layout.cells("e\u0301") == 1
    assert layout.cells("\u0e17\u0e35\u0e48") == 1, "vowels and tones of Thai stand above their consonant"
    assert layout.fit(f"{styled} two", 7) == f"{styled} two"


_PRINTS = re.compile(r"\bclick\.(?:secho|echo|echo_via_pager)\(|(?<!\w)print\(|sys\.(?:stdout|stderr)\.write\(")
_VERBATIM = re.compile(r"\bprint_verbatim\(")


def test_nothing_is_printed_that_is_not_fitted_but_documents() -> None:
    """`main` prints help, which click fits, and `streams` a single line when everything else failed."""
    folder = pathlib.Path(layout.__file__).parent
    modules = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    assert {name for name, text in modules.items() if _PRINTS.search(text)} == {"context", "main", "streams"}
    documents = {"audit", "check", "completion", "context", "document_commands", "plan_commands"}
    assert {name for name, text in modules.items() if _VERBATIM.search(text)} == documents


@pytest.mark.parametrize(("said", "columns"), [(100, 100), (0, 80), (None, 80)])
def test_a_terminal_that_does_not_know_its_width_has_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, said: int | None, columns: int
) -> None:
    def size(_number: int) -> os.terminal_size:
        if said is None:
            raise OSError
        return os.terminal_size((said, 24))

    monkeypatch.setattr(os, "get_terminal_size", size)
    assert layout.columns(terminals.Stream()) == columns
    assert layout.columns(io.StringIO()) == math.inf
