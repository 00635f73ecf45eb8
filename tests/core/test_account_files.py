"""Which files of a folder changed, and that no two accounts have one thing."""

from hypothesis import given
from hypothesis import strategies as st

from worker.core.model.account_files import Claims, FileChanges, Scan, compare

SCANS = st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(0, 2)))
CLAIMS = st.lists(st.tuples(st.sampled_from("ab"), st.sets(st.tuples(st.sampled_from("xyz")))), max_size=8)


def applied(known: Scan, changes: FileChanges, present: Scan) -> dict[str, tuple[int, ...]]:
    """Return what is known once the changes were acted on."""
    fresh = {name: present[name] for name in (*changes.added, *changes.changed)}
    return {name: signature for name, signature in {**known, **fresh}.items() if name not in changes.removed}


@given(SCANS, SCANS)
def test_a_folder_that_stays_the_same_for_two_scans_is_known_exactly(known: Scan, present: Scan) -> None:
    assert applied(known, compare(known, present, present), present) == present


@given(SCANS)
def test_nothing_changed_where_nothing_differs(known: Scan) -> None:
    assert compare(known, known, known) == FileChanges()


@given(SCANS, SCANS, SCANS)
def test_a_file_that_is_still_being_written_is_left_alone(known: Scan, before: Scan, present: Scan) -> None:
    changes = compare(known, before, present)
    assert all(before[name] == present[name] for name in (*changes.added, *changes.changed))
    assert not any(name in present or name in before for name in changes.removed)


def test_a_file_that_is_replaced_between_two_looks_is_not_removed() -> None:
    assert compare({"a": (1,)}, {}, {"a": (2,)}) == FileChanges()
    assert compare({"a": (1,)}, {"a": (1,)}, {}) == FileChanges()


@given(CLAIMS)
def test_no_two_accounts_have_the_same(claimed: list[tuple[str, set[tuple[str]]]]) -> None:
    claims, owned = Claims(), dict[str, set[tuple[str]]]()
    for name, wanted in claimed:
        others = {each for other, has in owned.items() if other != name for each in has}
        refused = claims.claim(name, sorted(wanted))
        assert (refused is None) == (not wanted & others)
        if refused is None:
            owned[name] = wanted
        else:
            assert refused[0] in owned[refused[1]]
    for name in tuple(owned):
        claims.release(name)
    assert claims.claim("c", [("x",), ("y",), ("z",)]) is None
