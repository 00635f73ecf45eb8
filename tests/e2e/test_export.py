"""`fleet-sync export`: every format and every way to name drivers."""

import itertools

import pytest

from tests.e2e import conftest
from worker.sandbox import quirks, state

NASTY = [
    ('O\'Brien "Bob"', "o'brien@example.com"),
    ("line\nbreak: [x", "line.break@example.com"),
    ("colon: # hash - dash", "colon@example.com"),
    ("\x1b[31mred\x1b[0m\x07\x9b2J", "red@example.com"),
    ("=1+1", "=1+1@example.com"),
    ("No", "no@example.com"),
    ("Id-like", "drv_not.an.id@example.com"),
    ("Fleet-like", "flt_not.an.id@example.com"),
    ("Equals", "key=value@example.com"),
    ("Space", "two words@example.com"),
    ("Two ats", "a@b@example.com"),
    ("Upper", "UPPER@Example.COM"),
    ("Sharp s", "straße@example.com"),
    ("Twin", "twin@example.com"),
    ("Other twin", "Twin@example.com"),
    ("\u2028separator\u202eright to left", "rtl@example.com"),
    ("Quote", '"quoted"@example.com'),
    ("Comma", "a,b@example.com"),
    ("Star", "*alias@example.com"),
    ("Number", "0123@example.com"),
]


@pytest.fixture
def nasty(open_workspace: conftest.Open) -> conftest.Workspace:
    """Return a workspace whose drivers and fleets have names with special characters."""
    people = state.SandboxState()
    fleets = [
        people.add_fleet(name=name) for name in ("Vans\n  x: y", "\x1b]0;title\x07", "flt_short", "- []", "empty")
    ]
    for number, (name, email) in enumerate(NASTY):
        people.add_driver(name=name, email=email, fleets=fleets[: 1 + number % 4])
    return open_workspace(people, behaves=quirks.Quirks(null_lists=True))


def test_what_is_exported_is_in_sync(nasty: conftest.Workspace) -> None:
    """This holds for every format and both ways to name drivers."""
    ways = list(itertools.product(("yaml", "json", "csv"), ("id", "email")))
    exports = nasty.together(*(["export", "--format", form, "--by", by] for form, by in ways))
    for (form, by), ended in zip(ways, exports, strict=True):
        told = "Left out: 1 fleet without drivers. CSV cannot represent an empty fleet.\n" if form == "csv" else ""
        assert (ended.code, ended.stderr) == (0, told)
        assert not {letter for letter in ended.stdout if not letter.isprintable()} - {"\n"}
        name = nasty.write(ended.stdout, f"{by}.{form}").name
        nasty.another(f"{name}.toml", source=name)
    for ended in nasty.together(*(["--config", f"{by}.{form}.toml", "once", "--json"] for form, by in ways)):
        report = ended.document
        assert (report["result"], [each["code"] for each in report["plan"]["problems"]]) == ("in_sync", ["journal_new"])
        assert report["plan"]["summary"]["in_sync"] == len(nasty.people.memberships())
    assert nasty.posts() == []


def test_what_cannot_be_read_whole_is_not_exported(open_workspace: conftest.Open) -> None:
    ended = open_workspace(behaves=quirks.Quirks(page_cap=10)).run("export")
    assert (ended.code, ended.stdout) == (1, "")
    assert "could not be read completely; nothing is exported" in ended.stderr
