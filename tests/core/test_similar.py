"""Suggestions for misspelled fleet names and e-mail addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.planning import similar

ADDRESSES = ("emma.bakker@example.com", "felix.bakker@example.com", "noah@example.com", "emma.bakker@example.org")


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("emma.baker@example.com", ("emma.bakker@example.com",)),
        ("emma.bakkerr@example.com", ("emma.bakker@example.com",)),
        ("enma.bakker@example.com", ("emma.bakker@example.com",)),
        ("eman.bakker@example.com", ()),
        ("emam.bakker@example.com", ("emma.bakker@example.com",)),
        ("felix.bakker@exmaple.com", ("felix.bakker@example.com",)),
        ("emma.bakker@example.net", ("emma.bakker@example.com", "emma.bakker@example.org")),
        ("somebody@example.com", ()),
        ("noah.bakker@example.com", ()),
    ],
)
def test_an_address_one_slip_away_is_suggested(written: str, found: tuple[str, ...]) -> None:
    assert similar.Addresses(ADDRESSES).similar(written) == found


def test_no_more_than_two_addresses_are_suggested() -> None:
    addresses = similar.Addresses(f"driver{number}@example.com" for number in range(10))
    assert addresses.similar("driver@example.com") == ("driver0@example.com", "driver1@example.com")


_TEXT = st.text("abc", max_size=6)


@given(_TEXT, _TEXT)
def test_a_slip_is_one_letter_more_less_other_or_swapped(one: str, other: str) -> None:
    def slips(text: str) -> set[str]:
        cuts = [(text[:at], text[at:]) for at in range(len(text) + 1)]
        removed = {a + b[1:] for a, b in cuts if b}
        swapped = {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
        replaced = {a + letter + b[1:] for a, b in cuts if b for letter in "abc"}
        added = {a + letter + b for a, b in cuts for letter in "abc"}
        return (removed | swapped | replaced | added) - {text}

    assert similar.is_one_slip(one, other) is (other in slips(one))


def test_the_most_similar_names_are_suggested() -> None:
    known = ["Paris vans", "Paris taxis", "Lyon taxis", "", "Lyon taxis"]
    assert similar.names("Lyon taksis", known) == ["Lyon taxis"]
    assert similar.names("Parris vans", known) == ["Paris vans"]
    assert similar.names("Nantes depot", known) == []


def test_in_a_very_large_account_no_name_is_suggested() -> None:
    assert similar.names("Fleet 1", [f"Fleet {number:05}" for number in range(2_001)]) == []


def test_suggestions_are_a_question() -> None:
    assert similar.question([]) == ""
    assert similar.question(["a@b", "c@d"]) == " (did you mean a@b or c@d?)"
