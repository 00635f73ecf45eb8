"""The secret key: where it comes from, and that it goes nowhere by accident."""

import copy
import pathlib
import pickle

import pytest

from tests.settings import conftest
from worker.core.model.errors import SettingsError
from worker.core.model.secret import Secret, redact
from worker.settings import key

KEY = "ch_sk_test_Sesame"


def problem(load: conftest.Load, text: str = "", **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        key.api_key(load(text), environ)
    assert "Set CHARGE_API_KEY" in caught.value.remedy
    assert "Sesame" not in str(caught.value)
    return str(caught.value)


def test_the_key_comes_from_the_environment_first(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "one").write_text("ch_sk_live_one")
    (tmp_path / "two").write_text("two")
    text = "charge.api_key_file = 'two'\n"
    one = str(tmp_path / "one")
    assert key.api_key(load(text), {"CHARGE_API_KEY": KEY, "CHARGE_API_KEY_FILE": one}).reveal() == KEY
    assert key.api_key(load(text), {"CHARGE_API_KEY_FILE": one}).reveal() == "ch_sk_live_one"
    assert key.api_key(load(text), {}).reveal() == "two"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n\n"])
def test_the_end_of_the_line_is_no_part_of_the_key(end: str, load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_bytes((KEY + end).encode())
    assert key.api_key(load(), {"CHARGE_API_KEY_FILE": str(tmp_path / "key")}).reveal() == KEY
    assert key.api_key(load(), {"CHARGE_API_KEY": KEY + end}).reveal() == KEY


def test_no_key_at_all_is_answered_with_where_to_put_it(load: conftest.Load) -> None:
    assert problem(load).startswith("CHARGE_API_KEY: there is no secret key")


@pytest.mark.parametrize("text", ["", " ", "\n", "ch_sk_ Sesame", "Ses\name", "Sesamé", "Sesame\0", "\ufeffSesame"])
def test_a_key_that_cannot_be_one_is_refused_unshown(text: str, load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_bytes(text.encode())
    assert problem(load, CHARGE_API_KEY=text).startswith("CHARGE_API_KEY: the key ")
    assert problem(load, "charge.api_key_file = 'key'\n").startswith("charge.api_key_file (")


def test_what_is_set_but_unusable_is_not_passed_over(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    """Another key than the one that was meant could be that of another account."""
    (tmp_path / "key").write_text(KEY)
    text = "charge.api_key_file = 'key'\n"
    assert "the key is empty" in problem(load, text, CHARGE_API_KEY="")
    assert "it is empty" in problem(load, text, CHARGE_API_KEY_FILE="")
    assert "cannot be read" in problem(load, text, CHARGE_API_KEY_FILE=str(tmp_path / "none"))


def test_a_key_in_place_of_the_path_of_its_file_is_not_shown(load: conftest.Load) -> None:
    assert "this is a key, and no path" in problem(load, CHARGE_API_KEY_FILE=KEY)


def test_a_file_that_holds_more_than_a_key_is_refused(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_text("Sesame" * 1000)
    assert "more than a key" in problem(load, "charge.api_key_file = 'key'\n")
    assert "cannot be read" in problem(load, "charge.api_key_file = '.'\n")


def test_a_secret_is_shown_by_nothing_but_reveal() -> None:
    held = Secret(KEY)
    assert "Sesame" not in f"{held} {held!r} {held!s} {[held]} %s" % held
    assert not hasattr(held, "__dict__")
    for write in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="never serialised"):
            write(held)
    assert held.reveal() == KEY


@pytest.mark.parametrize(
    ("text", "mode"),
    [("ch_sk_test_a", "test"), ("ch_sk_live_a", "live"), ("ch_rk_live_a", "unknown"), ("ch_sk_", "unknown")],
)
def test_a_key_tells_whose_data_it_opens(text: str, mode: str) -> None:
    assert Secret(text).mode == mode


def test_masking_leaves_the_rest_of_a_text_as_it_is() -> None:
    assert redact("a 'ch_sk_live_Ses.ame+' b, ch_sk_x") == "a 'ch_sk_…' b, ch_sk_…"
