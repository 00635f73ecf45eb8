"""Rows that are packed while a list is parsed mean what each means alone."""

import dataclasses
import datetime
import random
import zoneinfo
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.support import laws
from worker.core.model.rows import Batch
from worker.sources import document_reader, membership_document, positions, row_packing
from worker.sources.formats import json_format, yaml_format

ID = "drv_" + "D" * 32
GOOD = st.sampled_from(
    [
        '"x@y"',
        '{"driver": "X@Y"}',
        f'{{"driver": "{ID}", "note": ""}}',
        '{"note": "first\\nsecond", "driver": "k=v"}',
        '{"from": "2026-01-01", "driver": "x@y"}',
        '{"driver": "\u00e9@y", "until": "2026-03-01T08:00:00Z", "from": "2026-03-01", "note": "n"}',
    ]
)
BAD = st.sampled_from(
    [
        '"no driver"',
        '"ch_sk_live_1=a"',
        '{"driver": ""}',
        '{"note": "n"}',
        '{"driver": "x@y", "from": ""}',
        '{"driver": "x@y", "from": null}',
        '{"driver": "x@y", "until": "2026-13-01"}',
        '{"driver": "x@y", "until": "0026-12-31"}',
        '{"driver": "x@y", "from": "2026-01-02", "until": "2026-01-01"}',
        '{"driver": "x@y", "note": "ch_sk_live_1"}',
        '{"driver": "x@y", "note": "\\u001b"}',
        '{"driver": "x@y", "Note": "n"}',
        '{"driver": "x@y", "driver": "z@y"}',
        '{"driver": ["x@y"]}',
        '{"driver": {"driver": "x@y"}}',
        '["x@y"]',
        "null",
        "{}",
    ]
)
MORE = st.sampled_from([*[0] * 15, 497, 498, 499, 500, 1000])
"""How often the first row is repeated at the front: 500 are packed at once."""


@pytest.mark.integration
@hypothesis.given(
    st.lists(st.lists(GOOD, min_size=1, max_size=6), min_size=1, max_size=2),
    st.lists(BAD, max_size=2),
    MORE,
    st.sampled_from(["", "\n", "\n\n"]),
    st.sampled_from([datetime.UTC, None, zoneinfo.ZoneInfo("Europe/Paris")]),
    st.randoms(use_true_random=False),
)
@laws.examples(300)
def test_packed_rows_mean_what_each_means_alone(
    fleets: list[list[str]],
    bad: list[str],
    more: int,
    line_break: str,
    zone: datetime.tzinfo | None,
    chance: random.Random,
) -> None:
    for row in bad:
        rows = chance.choice(fleets)
        rows.insert(chance.randint(0, len(rows)), row)
    fleets[0] = [fleets[0][0]] * more + fleets[0]
    lists = (
        f'"{name}": [{f",{line_break}".join(rows)}]' for name, rows in zip(["Vans", "flt_1"], fleets, strict=False)
    )
    text = f'{{"fleets": {{{", ".join(lists)}}}}}'
    options = document_reader.DocumentOptions(zone=zone)
    for suffix, parse in ((".json", json_format.parse), (".yaml", yaml_format.parse)):
        alone = membership_document.read(parse(text), "a", zone=zone)
        packed = document_reader.read("a", suffix, text.encode(), options)
        assert dataclasses.replace(packed, proof=alone.proof) == alone


@pytest.mark.parametrize("parse", [json_format.parse, yaml_format.parse], ids=["json", "yaml"])
def test_lists_are_packed_while_they_are_parsed(parse: Callable[..., positions.Document]) -> None:
    """Otherwise a document of many rows would be in memory as dictionaries."""
    text = f'[[{", ".join(["""{"driver": "x@y"}"""] * 750)}]]'
    document = parse(text, pack=row_packing.Packer(datetime.UTC))
    assert isinstance(document.data, list)
    assert [type(each) for each in document.data[0]] == [Batch, Batch]
    assert [document.at((0, index)) for index in (0, 1)] == [(1, 3), (1, 3 + 500 * len('{"driver": "x@y"}, '))]
