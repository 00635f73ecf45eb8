"""A digest identifies one plan: equal for the same changes of the same account, different for any others."""

import dataclasses
import random

from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from worker.core.model.desired import DriverById, FleetById, Origin, Row
from worker.core.model.identifiers import Account
from worker.core.model.plan import Action, Change
from worker.core.model.plan_digest import held_digest, plan_digest, row_fingerprint
from worker.core.model.serialization import change_document

CHANGES = st.lists(
    st.builds(
        Change,
        st.sampled_from(Action),
        st.sampled_from(worlds.DRIVERS),
        st.sampled_from(worlds.FLEETS),
        st.none() | st.builds(Origin, st.text(max_size=3), st.integers(1, 9), st.integers(1, 9)),
    ),
    unique_by=lambda change: change.order,
    max_size=6,
)
Changes = list[Change]


def content(changes: Changes) -> set[tuple[str, int, str]]:
    return {change.order for change in changes}


@worlds.LAW
@given(CHANGES, CHANGES, st.randoms(use_true_random=False))
def test_neither_order_nor_origin_counts(changes: Changes, held: Changes, chance: random.Random) -> None:
    moved = [dataclasses.replace(change, origin=None) for change in changes]
    chance.shuffle(moved)
    named = plan_digest(worlds.ACCOUNT, changes, held)
    assert named == plan_digest(worlds.ACCOUNT, moved, reversed(held))


@worlds.LAW
@given(CHANGES, CHANGES, CHANGES, CHANGES)
def test_other_changes_or_the_same_held_instead_have_another_digest(
    changes: Changes, held: Changes, others: Changes, others_held: Changes
) -> None:
    same = content(changes) == content(others) and content(held) == content(others_held)
    one, other = plan_digest(worlds.ACCOUNT, changes, held), plan_digest(worlds.ACCOUNT, others, others_held)
    assert (one == other) is same
    assert (plan_digest(worlds.ACCOUNT, held, changes) == one) is (content(changes) == content(held))


def test_another_account_or_another_key_mode_has_another_digest() -> None:
    accounts = [
        worlds.ACCOUNT,
        Account("https://api.chargeapi.co/v1", "live"),
        Account("https://sandbox.example.com/v1", "test"),
    ]
    assert len({plan_digest(account, [], []) for account in accounts}) == 3


def test_the_digest_is_the_same_in_every_version() -> None:
    """Approvals and saved plans outlive an upgrade."""
    change = Change(Action.ATTACH, worlds.A, worlds.VANS)
    held = Change(Action.DETACH, worlds.B, worlds.VANS)
    assert (
        plan_digest(worlds.ACCOUNT, [change], [held])
        == "sha256:3eb7d7761e50c0f0fd9dcf1c5bbe37f66219f50f90c23668d653efe0d87e5e5e"
    )


# --- Rows -------------------------------------------------------------------------------------------------

MOMENTS = st.none() | st.sampled_from([worlds.NOW, worlds.NOW.replace(hour=9)])
ROWS = st.builds(
    Row,
    st.sampled_from(list(worlds.FLEET_REFS)),
    st.sampled_from(list(worlds.DRIVER_REFS)),
    st.builds(Origin, st.text(max_size=3), st.integers(1, 9), st.integers(1, 9)),
    MOMENTS,
    MOMENTS,
    st.sampled_from(["", "seasonal", "ends 🚚"]),
)


@worlds.LAW
@given(ROWS, ROWS)
def test_a_row_is_known_by_what_it_says_and_not_by_its_place(one: Row, other: Row) -> None:
    same = dataclasses.replace(one, origin=other.origin) == other
    assert (row_fingerprint(one) == row_fingerprint(other)) is same
    assert row_fingerprint(one) == row_fingerprint(dataclasses.replace(one, origin=other.origin))


def test_a_rows_fingerprint_is_short_and_stays_what_it_is() -> None:
    """Fingerprints are compared with those in existing journals."""
    row = Row(FleetById(worlds.VANS), DriverById(worlds.A), Origin("a.csv", 2, 1))
    assert row_fingerprint(row) == "d477f8ab831b347c"


@worlds.LAW
@given(CHANGES, st.text(max_size=3))
def test_the_row_makes_no_other_change_of_a_change(changes: Changes, row: str) -> None:
    edited = [dataclasses.replace(change, row=row) for change in changes]
    assert edited == changes
    assert set(edited) == set(changes)
    assert plan_digest(worlds.ACCOUNT, edited, []) == plan_digest(worlds.ACCOUNT, changes, [])
    assert [change_document(each) for each in edited] == [change_document(each) for each in changes]


# --- Held changes -----------------------------------------------------------------------------------------


@worlds.LAW
@given(CHANGES, CHANGES, CHANGES)
def test_held_changes_are_named_alike_whatever_else_is_planned(
    held: Changes, changes: Changes, others: Changes
) -> None:
    """What passes anyway does not void an approval; any other held change does."""
    digest = held_digest(worlds.ACCOUNT, held)
    assert digest == held_digest(worlds.ACCOUNT, reversed(held))
    assert digest not in (plan_digest(worlds.ACCOUNT, changes, held), plan_digest(worlds.ACCOUNT, [], held))
    assert (held_digest(worlds.ACCOUNT, others) == digest) is (content(others) == content(held))


def test_the_digest_of_held_changes_never_changes() -> None:
    """Approvals outlive an upgrade."""
    account = Account("https://api.chargeapi.co/v1", "live")
    change = Change(Action.DETACH, worlds.A, worlds.VANS)
    assert held_digest(account, [change]) == ("sha256:a2b3d3808e0f33675b0c39ae5cfd3d7623f43bd81eefbab0a2534ecd4e3df922")
