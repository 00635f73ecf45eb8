"""Names, hosts, paths and references that the kinds of sources on other machines accept."""

from collections.abc import Callable

import pytest

from worker.settings import network_kinds

ACCEPTED = [
    (network_kinds._user, ["hr", "", "a b", "dömain\\hr"]),
    (network_kinds._ref, ["main", "HEAD", "v1.2", "release/2026-03", "a"]),
    (network_kinds._name, ["fleet-sync", "a b", "é"]),
    (network_kinds._host, ["sftp.example.com", "10.0.0.1", "2001:db8::1", "a_b-c"]),
    (network_kinds._pattern, ["people.csv", "out/people_*.csv", "/out/p?.csv", "x[12].csv"]),
]
REFUSED = [
    (network_kinds._user, ["a:b", ":"]),
    (network_kinds._ref, ["", "-x", "a b", "a..b", "main.lock", "main/", "main.", ".main", "a:b", "a~1", "a^", "@"]),
    (network_kinds._name, ["", "a\n", "\x00"]),
    (network_kinds._host, ["", "-o", "a b", "a/b", "a@b", "host\n"]),
    (network_kinds._pattern, ["", "out/", "a\x00.csv", "o*t/a.csv", "o?t/a.csv", "o[1]t/a.csv"]),
]


def _cases(table: list[tuple[Callable[[str], str], list[str]]]) -> list[tuple[Callable[[str], str], str]]:
    return [(check, text) for check, texts in table for text in texts]


@pytest.mark.parametrize(("check", "text"), _cases(ACCEPTED))
def test_what_is_accepted_stays_as_it_is_written(check: Callable[[str], str], text: str) -> None:
    assert check(text) == text


@pytest.mark.parametrize(("check", "text"), _cases(REFUSED))
def test_what_is_refused_is_refused_with_what_to_write(check: Callable[[str], str], text: str) -> None:
    with pytest.raises(ValueError, match=r"^write "):
        check(text)
