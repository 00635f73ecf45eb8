"""How drivers, fleets and memberships are written: text stays text, and malformed references are refused."""

import itertools
import random
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import VANS, A
from worker.core.model.desired import DriverByEmail, DriverById, DriverByMetadata, FleetById, FleetByName
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.rows import key_of
from worker.core.planning import references
from worker.core.planning.near_misses import BLANKS

VISIBLE = (
    st.text(min_size=1)
    .map(lambda text: "".join(each for each in text if each.isprintable() and each not in BLANKS).strip())
    .filter(bool)
)
PART = st.text(string.ascii_letters + string.digits, min_size=32, max_size=32)


@worlds.LAW
@given(PART)
def test_an_id_is_kept_to_the_letter(part: str) -> None:
    assert references.parse_driver(f"drv_{part}") == DriverById(DriverId(f"drv_{part}"))
    assert references.parse_fleet(f"flt_{part}") == FleetById(FleetId(f"flt_{part}"))
    assert references.parse_membership(f"drv_{part}/flt_{part}") == (f"drv_{part}", f"flt_{part}")


@worlds.LAW
@given(st.text(string.ascii_letters + string.digits + "_-é", max_size=40))
def test_an_id_of_any_other_shape_is_refused(part: str) -> None:
    assume(not (len(part) == 32 and part.isascii() and part.isalnum()))
    for read, kind in ((references.parse_driver, "drv"), (references.parse_fleet, "flt")):
        with pytest.raises(
            ValueError, match=f"is not a valid {kind}_ id: an id is {kind}_ and exactly 32 letters or digits"
        ):
            read(f"{kind}_{part}")


@pytest.mark.parametrize("part", ["", "A" * 31, "A" * 33, "A" * 64, "A" * 31 + "-", "A" * 31 + "é"])
def test_an_id_has_exactly_thirty_two_letters_or_digits(part: str) -> None:
    with pytest.raises(ValueError, match="exactly 32 letters or digits"):
        references.parse_driver(f"drv_{part}")


@worlds.LAW
@given(st.from_regex(r"[a-zA-Z0-9_.-]{1,8}", fullmatch=True), VISIBLE)
def test_a_metadata_value_is_whatever_follows_the_first_equals_sign(key: str, value: str) -> None:
    assume(not key.startswith("drv_"))
    assert references.parse_driver(f"{key}={value}") == DriverByMetadata(key, value)


@pytest.mark.parametrize(
    "value", ["0123", "no", "1.16E+20", "1e3", "null", "~", "a=b", "in the middle", "<a@b.c>", "mailto:a@b.c"]
)
def test_metadata_stays_text_whatever_it_looks_like(value: str) -> None:
    """GAMADV-XTD3 177: a spreadsheet turned member ids into 1.16E+20."""
    reference = references.parse_driver(f"employee_id={value}")
    assert reference == DriverByMetadata("employee_id", value)
    assert str(reference) == f"employee_id={value}"


@worlds.LAW
@given(st.emails(), st.randoms(use_true_random=False))
def test_an_address_is_the_same_in_any_case(address: str, chance: object) -> None:
    assume("=" not in address and not address.startswith("drv_"))
    assert (
        references.parse_driver(address)
        == references.parse_driver(address.upper())
        == references.parse_driver(address.lower())
    )
    assert str(references.parse_driver(address)) == address.lower()


def test_only_ascii_letters_have_a_case_in_an_address() -> None:
    """In lower case, KELVIN SIGN is k: the wrong person was attached."""
    for one, other in (("\N{KELVIN SIGN}im@x", "kim@x"), ("É@x", "é@x"), ("İ@x", "i̇@x")):
        assert references.parse_driver(one) != references.parse_driver(other)
        assert references.parse_driver(one.replace("m", "M").replace("x", "X")) == references.parse_driver(one)


def test_addresses_that_differ_in_more_than_case_are_two() -> None:
    """Full case folding makes them equal, and would attach the wrong person."""
    assert references.parse_driver("strasse@example.com") != references.parse_driver("straße@example.com")


def test_an_address_or_a_key_may_begin_like_an_id() -> None:
    assert references.parse_driver("drv_1@example.com") == DriverByEmail("drv_1@example.com")
    assert references.parse_driver("drv_no=5") == DriverByMetadata("drv_no", "5")


@pytest.mark.parametrize("text", ["", "alice", "@example.com", "alice@", "a@b@c", "=5", "1.16E+20"])
def test_what_is_no_driver_is_refused_with_words_that_say_what_to_write(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"write a driver id .*, an e-mail address, or metadata as key=value"
    ) as caught:
        references.parse_driver(text)
    assert str(caught.value).startswith(f"{text!r} is not a valid driver reference")


def test_a_long_text_is_cut_in_messages() -> None:
    with pytest.raises(ValueError, match="is not a valid driver reference") as caught:
        references.parse_driver("x" * 10_000)
    assert str(caught.value).startswith(f"'{'x' * 57}…' is not a valid driver reference")


@worlds.LAW
@given(VISIBLE)
def test_any_other_text_is_a_fleets_exact_name(name: str) -> None:
    assume(not name.startswith("flt_"))
    reference = references.parse_fleet(name)
    assert reference == FleetByName(name)
    assert str(reference) == f'"{name}"'


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_a_fleet_needs_an_id_or_a_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"a fleet needs an id .* or a name"):
        references.parse_fleet(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (A, "is not a membership: write drv_…/flt_…"),
        (f"{VANS}/{A}", "is not a valid drv_ id"),
        (f"{A}/Paris vans", "is not a valid flt_ id"),
        (f"{A}/{VANS}/", "is not a valid flt_ id"),
    ],
)
def test_a_sentinel_is_a_driver_and_a_fleet_by_their_ids(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        references.parse_membership(text)


def test_references_are_written_as_they_stand_in_documents() -> None:
    assert str(references.parse_driver(A)) == A
    assert str(references.parse_fleet(VANS)) == VANS


@pytest.mark.parametrize(
    ("text", "extra"),
    [
        ("<a@b.c>", "'<'"),
        ("Alice <a@b.c>", "' '"),
        ("mailto:a@b.c", "'mailto:'"),
        ("MailTo:a@b.c", "'MailTo:'"),
        ("a@b.c,d@e.f", "','"),
        ("a@b.c;", "';'"),
        ('"a"@b.c', "'\"'"),
        ("a@[127.0.0.1]", "'['"),
        ("a\\b@c.d", "'\\\\'"),
        ("a b@example.com", "' '"),
        ("a\ufe0f@b.c", "'\ufe0f'"),
    ],
)
def test_characters_that_no_address_has_are_refused_and_named(text: str, extra: str) -> None:
    with pytest.raises(ValueError, match="which no e-mail address has: write only the address") as caught:
        references.parse_driver(text)
    assert f"contains {extra}" in str(caught.value)


@pytest.mark.parametrize("text", [" {}", "{} ", "  {} "])
@pytest.mark.parametrize("reference", ["a@b.c", "employee_id=7", A, "Paris vans", VANS])
def test_spaces_at_the_ends_are_refused_in_every_reference(text: str, reference: str) -> None:
    read = references.parse_fleet if reference in ("Paris vans", VANS) else references.parse_driver
    with pytest.raises(ValueError, match="begins or ends with a space: remove it, or refer to the"):
        read(text.format(reference))


def test_a_metadata_value_does_not_begin_with_a_space() -> None:
    with pytest.raises(ValueError, match="has a space after the ="):
        references.parse_driver("employee_id= 7")


@pytest.mark.parametrize("odd", ["\u200b", "\u00ad", "\ufeff", "\u00a0", "\n", "\t", "\u3164", "\u2800", "\ud800"])
@pytest.mark.parametrize(
    "reference", ["a{}@b.c", "{}employee_id=7", "employee_id=7{}", "Paris{} vans", "{}", VANS + "{}"]
)
def test_invisible_characters_are_refused_in_every_reference_by_code_point(odd: str, reference: str) -> None:
    read = references.parse_fleet if reference[0] in "Pf" else references.parse_driver
    with pytest.raises(ValueError, match=rf"invisible character U\+{ord(odd):04X} in a reference: remove it"):
        read(reference.format(odd))


def test_a_fleets_name_may_have_emoji_and_any_script() -> None:
    for name in ("❄️ Winter", "Dépôt Lyon", "Οδηγοί", "配送", '<Vans>, "A"'):
        assert references.parse_fleet(name) == FleetByName(name)


UNIFORM = (
    [f"drv_{'A' * 32}", f"drv_{'b' * 32}"],
    ["x@y", "X+1@Y.example"],
    ["k=v", "k=v=w", "k=@"],
)
TRICKY = (
    "a=b@c",
    "+=b@c",
    "@y",
    "x@",
    "a@b@c",
    "x@y\n",
    "x@\ny",
    "k=",
    "=v",
    "k=v w",
    "kk=v",
    "é@x",
    "k=é",
    "drv_1",
    "",
    "\n",
)


@given(
    st.sampled_from(UNIFORM), st.lists(st.sampled_from([*itertools.chain(*UNIFORM), *TRICKY]), max_size=2), st.randoms()
)
def test_many_references_at_once_are_what_each_is_alone(
    uniform: list[str], others: list[str], chance: random.Random
) -> None:
    texts = [*uniform, *others]
    chance.shuffle(texts)
    together = references.parse_uniform(texts)
    assert together is None or together == [key_of(references.parse_driver(text)) for text in texts]


@pytest.mark.parametrize("texts", UNIFORM)
def test_many_references_of_one_form_are_read_at_once(texts: list[str]) -> None:
    assert references.parse_uniform(texts) == [key_of(references.parse_driver(text)) for text in texts]
