"""Where the cells of a table are."""

import pytest

from worker.sources import table


@pytest.mark.parametrize(("index", "place"), [(0, (3, 1)), (1, (3, 4)), (2, (3, 9)), (3, (3, 10)), (7, (3, 10))])
def test_without_recorded_places_a_cell_is_where_its_separators_say(index: int, place: tuple[int, int]) -> None:
    assert table.place((3, ["ab", "cdef", ""], None), index) == place


@pytest.mark.parametrize(("index", "place"), [(0, (3, 1)), (1, (4, 2)), (2, (4, 2)), (7, (4, 2))])
def test_a_cell_that_a_row_lacks_is_at_the_place_of_its_last_one(index: int, place: tuple[int, int]) -> None:
    assert table.place((3, ["a", "b"], [(3, 1), (4, 2)]), index) == place


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ((2, 3), "C2"),
        ((1, 26), "Z1"),
        ((9, 27), "AA9"),
        ((9, 52), "AZ9"),
        ((9, 53), "BA9"),
        ((1, 702), "ZZ1"),
        ((1, 703), "AAA1"),
    ],
)
def test_a_cell_is_called_as_spreadsheets_do(place: tuple[int, int], name: str) -> None:
    assert table.cell_name(place) == name


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_places_of_many_cells_are_those_of_each(index: int) -> None:
    rows: list[table.TableRow] = [(3, ["ab", "cdef", "g"], None), (5, ["a", "b", "c"], [(5, 1), (6, 4), (7, 2)])]
    assert list(zip(*table.places(rows, index), strict=True)) == [table.place(row, index) for row in rows]
