"""Many texts, rows or places at once give what each gives alone: the same contents, places and problems."""

import json
import random

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.support import laws
from worker.sources import document_reader, membership_document, positions, row_mapping
from worker.sources.formats import json_format

SPACES = st.sampled_from(["", " ", "\n", "\r\n  ", "\t"])
TEXTS = st.text('ab]},:[{ "\\/\né\u200b', max_size=4)


@hypothesis.given(st.lists(st.lists(TEXTS, max_size=5), min_size=1, max_size=3), st.data())
@laws.examples(300)
def test_every_text_of_a_list_has_its_value_and_its_place(lists: list[list[str]], data: st.DataObject) -> None:
    """Mostly separated in the same way, as programs write them, and sometimes not."""
    usual = data.draw(SPACES) + "," + data.draw(SPACES)

    def between() -> str:
        return usual if data.draw(st.integers(0, 5)) else data.draw(SPACES) + "," + data.draw(SPACES)

    def written(texts: list[str]) -> str:
        items = [json.dumps(each, ensure_ascii=data.draw(st.booleans())) for each in texts]
        inner = "".join(each + between() for each in items[:-1]) + "".join(items[-1:])
        return f"[{data.draw(SPACES)}{inner}{data.draw(SPACES)}]"

    text = f"[{between().join(map(written, lists))}]"
    parsed = json_format.parse(text)
    assert parsed.data == json.loads(text) == lists
    for number, texts in enumerate(lists):
        for index, each in enumerate(texts):
            offset = parsed.items_at((number,))[index]
            assert isinstance(offset, int)
            assert json.JSONDecoder(strict=False).raw_decode(text, offset)[0] == each
            assert parsed.at((number, index)) == positions.Lines(text).at(offset)


@hypothesis.given(st.lists(TEXTS, min_size=2, max_size=5), st.data())
def test_a_list_with_a_character_too_few_is_refused_like_any_other(texts: list[str], data: st.DataObject) -> None:
    whole = json.dumps(texts)
    missing = data.draw(st.integers(0, len(whole) - 1))
    text = whole[:missing] + whole[missing + 1 :]
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(positions.Malformed):
            json_format.parse(text)
    else:
        assert json_format.parse(text).data == expected


@hypothesis.given(st.text("a\n\r", max_size=30), st.data())
def test_places_together_are_those_of_each(text: str, data: st.DataObject) -> None:
    lines = positions.Lines(text)
    offsets = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=1)))
    found_lines, columns = lines.each(offsets)
    assert list(zip(found_lines, columns, strict=True)) == [lines.at(offset) for offset in offsets]


@pytest.mark.parametrize("offsets", [[0, 1, 5], [0, 5, 5], [0, 3, 5], [0, 1, 1], [3, 4]])
def test_as_many_places_as_lines_need_not_be_one_in_each(offsets: list[int]) -> None:
    lines = positions.Lines("aa\na\na")
    found_lines, columns = lines.each(offsets)
    assert list(zip(found_lines, columns, strict=True)) == [lines.at(offset) for offset in offsets]


SCOPE = {"Paris": "flt_" + "P" * 32, "Lyon": "Lyon vans"}
OTHERS: list[tuple[row_mapping.OtherFleets, dict[str, str]]] = [
    ("error", SCOPE),
    ("ignore", SCOPE),
    ("by_name", SCOPE),
    ("error", {}),
]
MAPPINGS = [
    row_mapping.RowMapping(
        "employee_id={ID}",
        "{Depot}",
        starts="{From}",
        ends="{Until}",
        note=note,
        date_format="%d.%m.%Y",
        keep={"Status": ("Active", "Leave")},
        drop={"Status": ("Left",)},
        other_fleets=others,
        fleets=fleets,
    )
    for others, fleets in OTHERS
    for note in ("", "{Name}")
]
NAMES = st.sampled_from(["Ann", '"Ann"', '"Lee, Ann"', '"Ann ""A"" Lee"', '"Ann\nLee"'])
"""Cells as they are written, before the others: a quotation mark or a line break shifts the places after it."""
ROWS = st.tuples(
    NAMES | st.sampled_from(["", "ch_sk_live_1", "\x1b[2J"]),
    st.sampled_from(["1", "2", "a b", "é", "", " 3"]),
    st.sampled_from(["Paris", "Lyon", " Lyon", "Nantes", ""]),
    st.sampled_from(["Active", "Leave", "Left", "Left", "active", "unheard"]),
    st.sampled_from(["", "", "01.01.2026", "1 May"]),
    st.sampled_from(["", "", "02.01.2026", "01.01.2025", "02.01.0026"]),
)
USUAL = st.tuples(
    NAMES,
    st.sampled_from(["1", "2"]),
    st.sampled_from(["Paris", "Lyon"]),
    st.sampled_from(["Active", "Leave", "Left"]),
    st.sampled_from(["", "01.01.2026"]),
    st.sampled_from(["", "02.01.2026"]),
)
OWN_ROWS = st.tuples(
    st.sampled_from(["x@y", "X@Y", "k=v", "drv_" + "D" * 32, "x@y ", "no driver", "ch_sk_a=b", ""]),
    st.sampled_from(["Vans", "flt_" + "V" * 32, "flt_1", " Vans", ""]),
)


def alone_and_together(
    header: str, rows: list[tuple[str, ...]], mapping: row_mapping.RowMapping | None
) -> list[membership_document.Contents]:
    """Read the same rows one by one, because the last one has an empty cell too many, and together."""
    last = "x@y,Vans" if mapping is None else "Ann,1,Paris,Active,,"
    options = document_reader.DocumentOptions(rows=mapping, delimiter="comma")
    texts = ["\n".join([header, *map(",".join, rows), each]) for each in (f"{last},", last)]
    return [document_reader.read("a.csv", ".csv", text.encode(), options) for text in texts]


@hypothesis.given(
    st.lists(USUAL, max_size=6),
    st.lists(ROWS, max_size=2),
    st.sampled_from(MAPPINGS),
    st.randoms(use_true_random=False),
)
@laws.examples(400)
def test_rows_together_mean_what_each_means_alone(
    usual: list[tuple[str, ...]], others: list[tuple[str, ...]], mapping: row_mapping.RowMapping, chance: random.Random
) -> None:
    rows = [*usual, *others]
    chance.shuffle(rows)
    alone, together = alone_and_together("Name,ID,Depot,Status,From,Until", rows, mapping)
    assert together == alone


@hypothesis.given(st.lists(OWN_ROWS, max_size=4))
@laws.examples(300)
def test_rows_of_our_own_columns_together_mean_what_each_means_alone(rows: list[tuple[str, ...]]) -> None:
    """The first of a fleet is always read alone, so there are rows of known fleets before them."""
    before = [("x@y", "Vans"), ("x@y", "flt_" + "V" * 32)] * 250
    alone, together = alone_and_together("driver,fleet", [*before, *rows], None)
    assert together == alone
