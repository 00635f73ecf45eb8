"""429s that come at any rate are told from those of a limit."""

from worker.core.pacing import spurious_429


def _after_replies(*, near: tuple[int, int], slower: tuple[int, int]) -> spurious_429.Spurious429Filter:
    """Return a filter that saw so many requests accepted and refused at 10 a second, and then at 5."""
    found = spurious_429.Spurious429Filter()
    assert found.classify(10.0, first=True) is None
    for rate, (accepted, refused) in ((10.0, near), (5.0, slower)):
        for number in range(accepted + refused):
            if number % (1 + accepted // max(1, refused)) == 0 and refused:
                found.refused(rate, again=False)
                refused -= 1
            else:
                found.accepted(rate)
    return found


def test_a_share_that_stays_the_same_at_half_the_rate_is_spurious() -> None:
    found = _after_replies(near=(90, 10), slower=(36, 4))
    before = found.finds_spurious
    assert found.classify(5.0, first=False) == 10.0, "the rate to go back to"
    assert (before, found.finds_spurious) == (False, True)
    assert found.should_ignore(unexpected=False)


def test_a_share_that_shrinks_with_the_rate_is_a_limit() -> None:
    found = _after_replies(near=(50, 50), slower=(500, 4))
    assert found.classify(5.0, first=False) is None
    assert not found.finds_spurious
    assert not found.should_ignore(unexpected=False)


def test_three_429s_are_no_evidence() -> None:
    found = _after_replies(near=(90, 10), slower=(27, 3))
    assert found.classify(5.0, first=False) is None
    assert not found.finds_spurious


def test_429s_that_become_frequent_are_no_longer_ignored() -> None:
    found = _after_replies(near=(90, 10), slower=(36, 4))
    found.classify(5.0, first=False)
    ignored = [found.should_ignore(unexpected=False) for _ in range(8)]
    assert ignored == [True] * 6 + [False] * 2
    assert not found.finds_spurious
