"""Names as values."""

from hypothesis import given
from hypothesis import strategies as some

from worker.core.model import people
from worker.core.model.identifiers import DriverId
from worker.core.model.people import Person

DRIVER = DriverId("drv_" + "A" * 32)


@given(some.text(some.characters()), some.text(some.characters(exclude_characters="\n")))
def test_a_person_survives_packing(name: str, email: str) -> None:
    found = people.People({DRIVER: people.pack(Person(name, email))})
    if email or "\n" not in name:
        assert found[DRIVER] == Person(name, email)
    assert list(found) == [DRIVER]
    assert len(found) == 1


@given(some.text(some.characters()))
def test_a_clean_name_is_one_short_printable_line(text: str) -> None:
    cleaned = people.clean(text)
    assert cleaned.isprintable()
    assert cleaned == cleaned.strip()
    assert len(cleaned) <= people.LONGEST_NAME
    cleaned.encode()
    assert people.clean(cleaned) == cleaned


def test_an_ordinary_name_is_not_changed() -> None:
    assert people.clean("Chloé  van der\tBerg\N{NO-BREAK SPACE}李") == "Chloé van der Berg 李"


def test_hostile_names_are_harmless() -> None:
    hostile = "\x1b[31mEmma\N{RIGHT-TO-LEFT OVERRIDE}\ud800 ch_sk_live_abc"
    cleaned = Person(hostile, hostile).cleaned
    assert cleaned.name == cleaned.email == "\ufffd[31mEmma\ufffd\ufffd ch_sk_…"


def test_a_driver_without_a_name_is_shown_by_address() -> None:
    assert Person("Emma", "emma@example.com").shown == "Emma"
    assert Person("", "emma@example.com").shown == "emma@example.com"


def test_names_are_put_before_ids() -> None:
    text = f"{DRIVER} is not in flt_B and not in xflt_C"
    assert people.annotate(text, {DRIVER: "Emma"}) == f"Emma ({DRIVER}) is not in flt_B and not in xflt_C"
    assert people.mentioned([text]) == {DRIVER, "flt_B"}


def test_a_name_is_cut_only_where_it_is_too_long() -> None:
    assert people.clean("a" * people.LONGEST_NAME) == "a" * people.LONGEST_NAME
    assert people.clean("a" * (people.LONGEST_NAME + 1)) == "a" * (people.LONGEST_NAME - 1) + "…"
