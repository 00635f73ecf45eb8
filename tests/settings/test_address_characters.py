"""Characters that no address may contain, wherever they are: programs disagree about what follows them."""

from collections.abc import Callable

import pytest

from worker.settings import urls

Check = Callable[[str], str]

CONTROL_CHARACTERS = [chr(code) for code in (*range(32), 127)]
REFUSED = [*CONTROL_CHARACTERS, " ", "\\", "\x85", "\u2028", "é"]
ADDRESSES = {
    "in the host": "https://api{}.example.com/v1",
    "before the host": "https://{}api.example.com/v1",
    "after the host": "https://api.example.com{}/v1",
    "in the path": "https://api.example.com/v{}1",
    "at the end": "https://api.example.com/v1{}",
}


@pytest.mark.parametrize("check", [urls.base_url, urls.webhook], ids=["base_url", "webhook"])
@pytest.mark.parametrize("place", ADDRESSES)
def test_an_address_with_such_a_character_is_refused_and_not_repeated(place: str, check: Check) -> None:
    """A backslash is a slash to browsers, and many parsers drop control characters: another host could be meant."""
    accepted = [ascii(character) for character in REFUSED if not _is_refused(ADDRESSES[place].format(character), check)]
    assert accepted == []


def _is_refused(address: str, check: Check) -> bool:
    try:
        check(address)
    except ValueError as error:
        return "write it like" in str(error) and address not in str(error)
    return False


@pytest.mark.parametrize("check", [urls.base_url, urls.webhook], ids=["base_url", "webhook"])
def test_the_same_addresses_without_such_a_character_are_accepted(check: Check) -> None:
    for address in ADDRESSES.values():
        assert check(address.format("")) == address.format("")
