"""Groups of changes with the same reason."""

from hypothesis import given
from hypothesis import strategies as st

from worker.core.model.identifiers import FleetId
from worker.core.monitoring import reasons

_ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers()), max_size=20)


def _group(items: list[tuple[str, str, int]]) -> tuple[reasons.Group[str, tuple[str, str, int]], ...]:
    return reasons.group(items, reason=lambda each: each[0], fleet=lambda each: FleetId(each[1]))


@given(_ITEMS)
def test_each_reason_is_one_group_and_every_item_is_in_it_in_order(items: list[tuple[str, str, int]]) -> None:
    groups = _group(items)
    assert [group.reason for group in groups] == list(dict.fromkeys(reason for reason, _, _ in items))
    for group in groups:
        assert group.size == sum(reason == group.reason for reason, _, _ in items)
        for fleet, listed in group.fleets.items():
            assert list(listed) == [each for each in items if each[:2] == (group.reason, fleet)]


def test_a_group_has_a_fleet_if_it_has_only_one() -> None:
    one, several = _group([("a", "x", 1), ("a", "x", 2), ("b", "x", 3), ("b", "y", 4)])
    assert (one.fleet, several.fleet) == ("x", None)
