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


def test_spurious_429s_are_ignored_for_as_long_as_requests_are_accepted_between_them() -> None:
    found = _after_replies(near=(90, 10), slower=(36, 4))
    found.classify(5.0, first=False)
    for _ in range(20):
        for _ in range(9):
            found.accepted(10.0)
        assert found.should_ignore(unexpected=False)


def test_429s_that_come_one_after_another_are_a_limit() -> None:
    """A server that counts in windows refuses until the window ends."""
    found = spurious_429.Spurious429Filter()
    found.classify(10.0, first=True)
    for rate, accepted, refused in ((10.0, 90, 10), (5.0, 36, 4)):
        for _ in range(accepted):
            found.accepted(rate)
        for _ in range(refused):
            found.refused(rate, again=True)
    assert found.classify(5.0, first=False) is None
    assert not found.finds_spurious


def test_a_stray_429_below_the_limit_is_ignored_and_the_third_makes_them_spurious() -> None:
    found = spurious_429.Spurious429Filter()
    assert not found.should_ignore(unexpected=True), "nothing was accepted before it"
    for number in range(3):
        for _ in range(101):
            found.accepted(10.0)
        assert not found.finds_spurious
        assert not found.should_ignore(unexpected=False)
        assert found.should_ignore(unexpected=True), number
    assert found.finds_spurious


def test_a_second_429_soon_after_a_stray_one_is_a_limit() -> None:
    found = spurious_429.Spurious429Filter()
    for _ in range(101):
        found.accepted(10.0)
    assert [found.should_ignore(unexpected=True) for _ in range(2)] == [True, False]


def test_once_429s_became_frequent_what_was_counted_before_is_forgotten() -> None:
    found = _after_replies(near=(90, 10), slower=(36, 4))
    found.classify(5.0, first=False)
    while found.should_ignore(unexpected=False):
        pass
    assert found.classify(5.0, first=False) is None
    assert not found.finds_spurious


def test_a_429_that_is_followed_by_another_ends_the_count_of_strays() -> None:
    found = spurious_429.Spurious429Filter()
    states = []
    for is_followed in (False, True, False, False, False):
        for _ in range(101):
            found.accepted(10.0)
        assert found.should_ignore(unexpected=True)
        states.append(found.finds_spurious)
        if is_followed:
            assert not found.should_ignore(unexpected=True)
    assert states == [False, False, False, False, True]
