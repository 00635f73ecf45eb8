"""One reading of what Charge holds, and what was retrieved after it."""

from tests.core import worlds
from tests.core.worlds import DEPOT, VANS, A, B, C
from worker.core.model.actual import Actual
from worker.core.model.people import Person


def test_what_was_retrieved_later_replaces_what_was_read_before() -> None:
    listed = Actual({}, {A: frozenset({VANS})}, unreadable=frozenset({B}), statuses={A: "suspended"})
    retrieved = Actual({}, {B: frozenset({DEPOT})}, people={B: Person("Bob", "")}, absent=frozenset({C}))
    known = listed.with_drivers(retrieved)
    assert known.memberships == {A: {VANS}, B: {DEPOT}}
    assert not known.unreadable
    assert known.absent == {C}
    assert (known.people[B].name, known.statuses) == ("Bob", {A: "suspended"})
    assert worlds.seen({}).with_drivers(Actual({}, {})) == worlds.seen({})
