"""Where the cells of a table are."""

import pytest

from worker.sources import table


@pytest.mark.parametrize(("index", "place"), [(0, (3, 1)), (1, (3, 4)), (2, (3, 9)), (3, (3, 10)), (7, (3, 10))])
def test_without_recorded_places_a_cell_is_where_its_separators_say(index: int, place: tuple[int, int]) -> None:
    assert table.place((3, ["ab", "cdef", ""], None), index) == place


@pytest.mark.parametrize(("index", "place"), [(0, (3, 1)), (1, (4, 2)), (2, (4, 2)), (7, (4, 2))])
def test_a_cell_that_a_row_lacks_is_at_the_place_of_its_last_one(index: int, place: tuple[int, int]) -> None:
    assert table.place((3, ["a", "b"], [(3, 1), (4, 2)]), index) == place
