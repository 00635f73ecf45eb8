"""Lines that are too long for a terminal go on below, at a space."""

import math

import click
from hypothesis import given
from hypothesis import strategies as st

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
    assert layout.fit("  one two  three four", 16) == "  one two  three\n      four"


def test_a_command_can_be_copied() -> None:
    fitted = layout.fit(f"  fleet-sync once --approve {DIGEST}", 80)
    assert fitted == f"  fleet-sync once --approve \\\n      {DIGEST}"


def test_a_word_that_only_fits_without_its_indent_gets_less() -> None:
    fitted = layout.fit(f"  run_finished digest={DIGEST} held=1", 80)
    assert fitted.split("\n")[1] == f"  digest={DIGEST}"


def test_styles_take_no_room_and_some_characters_take_two_columns() -> None:
    styled = click.style("one", fg="red")
    assert layout.cells(styled) == 3
    assert layout.cells("山田") == 4
    assert layout.cells("e\u0301") == 1
    assert layout.fit(f"{styled} two", 7) == f"{styled} two"
