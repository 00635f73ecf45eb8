"""Only `reveal` shows a key."""

import copy
import pickle

import pytest

from worker.core.model.secret import Secret, position_of_key, redact

KEY = "ch_sk_test_4eC39HqLyjWDarjtT1zdp7dc"


def test_no_way_of_writing_a_secret_shows_it() -> None:
    held = Secret(KEY)
    for shown in (repr(held), str(held), f"{held}", f"{held!r:>20}", repr([held]), repr({"key": held})):
        assert "4eC39" not in shown
    assert held.reveal() == KEY


def test_secrets_are_equal_if_their_texts_are() -> None:
    assert Secret(KEY) == Secret(KEY) != Secret("other")
    assert len({Secret(KEY), Secret(KEY), Secret("other")}) == 2
    assert Secret(KEY) != KEY


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_never_pickled_or_copied(write: object) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        write(Secret(KEY))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("key", "mode"), [(KEY, "test"), ("ch_sk_live_4eC39", "live"), ("ch_sk_4eC39", "unknown"), ("", "unknown")]
)
def test_the_beginning_of_a_key_tells_whose_data_it_opens(key: str, mode: str) -> None:
    assert Secret(key).mode == mode


def test_whatever_looks_like_a_key_is_left_out_of_a_text() -> None:
    assert redact(f"Bearer {KEY}, '{KEY}' and \"{KEY}\"") == "Bearer ch_sk_… 'ch_sk_…' and \"ch_sk_…\""
    assert redact("nothing here") == "nothing here"


@pytest.mark.parametrize(
    ("text", "position"),
    [(KEY, 0), (f"# key: {KEY}", 7), ("ch_sk_live_0123456", 0), ("ch_sk_test_", None), ("ch_sk_…", None), ("", None)],
)
def test_only_what_could_be_a_whole_key_is_one(text: str, position: int | None) -> None:
    assert position_of_key(text) == position
