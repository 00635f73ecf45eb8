"""Where a journal is, and how its URL is shown: without any part of a password."""

import pathlib

import pytest

from worker.core.model.errors import JournalError
from worker.journal import address


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:Sesame@db.test:5432/fleet?application_name=x", "postgresql://ann@db.test:5432/fleet"),
        ("postgresql+psycopg://ann@db.test/fleet", "postgresql://ann@db.test/fleet"),
        ("postgresql://db.test/fleet?password=Sesame", "postgresql://db.test/fleet"),
        ("postgresql://:Sesame@db.test/fleet", "postgresql://db.test/fleet"),
        ("postgresql:///fleet", "postgresql:///fleet"),
        ("postgresql://ann:Sesame@a.test:5432,b.test:0/fleet", "postgresql://ann@a.test:5432,b.test:0/fleet"),
    ],
)
def test_a_url_is_shown_with_user_and_place_and_no_more(url: str, shown: str) -> None:
    found = address.parse(url)
    assert (found.shown, found.path) == (shown, None)
    assert found.url == url.replace("+psycopg", "")
    assert "Sesame" not in repr(found)


def test_two_names_of_one_file_are_one_place(tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    found = address.parse(f"sqlite:///{tmp_path}/link/../journal.db")
    assert found.path == address.parse(f"sqlite:///{found.path}").path
    assert found.shown == str(found.path)
    assert address.parse(f"sqlite:///{tmp_path}/link/journal.db").path == tmp_path.resolve() / "journal.db"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://ann:Sesame@db.test/fleet", "neither sqlite:/// nor postgresql://"),
        ("fleet-sync.db", "neither sqlite:/// nor postgresql://"),
        ("postgresql://ann:Sesame@db.test:0/fleet", "malformed"),
        ("postgresql://ann:Sesame@db.test:port/fleet", "malformed"),
        ("postgresql://ann:Ses@me@db.test/fleet", "reserved characters"),
        ("postgresql://ann:Sesame/@db.test/fleet", "reserved characters"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str, says: str) -> None:
    with pytest.raises(JournalError, match=says) as caught:
        address.parse(url)
    assert caught.value.remedy
    assert caught.value.__cause__ is None
    assert "Sesame" not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://ann:Ses%20ame@db.test/fleet", ["Ses%20ame"]),
        ("postgresql://ann@db.test/fleet?password=one&sslpassword=two&user=x", ["one", "two"]),
        ("postgresql://ann@db.test/fleet?%70assword=one", ["one"]),
        ("postgresql://ann:one@db.test/fleet?password=two", ["one", "two"]),
        ("postgresql://ann@db.test/fleet?password=", []),
        ("postgresql://ann@db.test/fleet", []),
        ("postgresql://[ann:one@db.test/fleet", []),
        ("sqlite:////var/lib/password=x", []),
    ],
)
def test_passwords_are_found_wherever_libpq_takes_them(url: str, found: list[str]) -> None:
    assert address.passwords(url) == found
