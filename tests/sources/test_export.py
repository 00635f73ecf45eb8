"""Exported documents: reading one back yields exactly the memberships that were written, in every format."""

import pathlib
import string
import tempfile

import anyio
import hypothesis
import pytest
from hypothesis import strategies as st

from tests.support import file_sources, laws
from worker.core.model.actual import Actual, Fleet
from worker.core.model.desired import DriverByEmail, DriverById, FleetById, SourceReading
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.people import Person
from worker.sources import export

FORMS: tuple[export.Format, ...] = ("yaml", "json", "csv")
STYLES: tuple[export.ReferenceStyle, ...] = ("id", "email")


def _driver(letter: str) -> DriverId:
    return DriverId(f"drv_{letter * 32}")


def _fleet(letter: str) -> FleetId:
    return FleetId(f"flt_{letter * 32}")


_NAMES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "# no", "a: b", "x\ny: [", "\x1b[31mred", "'\"", "\u2028", "drv_x", "- ", "ch_sk_live_abc def"]
    ),
)
_LOCAL = st.text(alphabet=string.ascii_lowercase + string.digits + "_.+-=' \"*#{}é", min_size=1, max_size=12)
_EMAILS = st.one_of(
    _LOCAL.map(lambda local: f"{local}@example.com"),
    st.sampled_from(
        ["drv_a@b.c", "flt_a@b.c", "a@b@c.d", "no@b", "0123@b.c", "a=b@c.d", "", "@", "a@-", "null@null", "ch_sk_a@b.c"]
    ),
)


@st.composite
def _accounts(draw: st.DrawFn) -> Actual:
    """Draw an account, with names and addresses that could break a format."""
    fleets = [_fleet(letter) for letter in draw(st.sets(st.sampled_from("VWXYZ"), min_size=1))]
    drivers = [_driver(letter) for letter in draw(st.sets(st.sampled_from("ABCDEF"), min_size=1))]
    emails: dict[str, tuple[DriverId, ...]] = {}
    for driver in drivers:
        if email := draw(_EMAILS).lower():
            emails[email] = (*emails.get(email, ()), driver)
    return Actual(
        fleets={fleet: Fleet(fleet, draw(_NAMES)) for fleet in fleets},
        memberships={driver: frozenset(draw(st.sets(st.sampled_from(fleets)))) for driver in drivers},
        emails=emails,
        people={driver: Person(draw(_NAMES)) for driver in drivers},
        directory_complete=True,
    )


def _read(text: str, form: str) -> SourceReading:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"export.{form}")
        path.write_text(text, encoding="utf-8")
        return anyio.run(file_sources.of(path, path.name).read)


def _memberships(reading: SourceReading, actual: Actual) -> set[tuple[object, object]]:
    """Return the pairs of ids that the rows mean."""
    pairs: set[tuple[object, object]] = set()
    for row in reading.rows:
        assert isinstance(row.fleet, FleetById)
        match row.driver:
            case DriverById(id=driver):
                pairs.add((driver, row.fleet.id))
            case DriverByEmail(email=email):
                [driver] = actual.emails[email]
                pairs.add((driver, row.fleet.id))
            case other:
                raise AssertionError(f"{other} is no address that was written")
    return pairs


@pytest.mark.integration
@pytest.mark.parametrize("by", STYLES)
@pytest.mark.parametrize("form", FORMS)
@laws.examples(60)
@hypothesis.given(actual=_accounts())
def test_reading_it_back_gives_what_was_written(form: export.Format, by: export.ReferenceStyle, actual: Actual) -> None:
    expected = {(driver, fleet) for driver, fleets in actual.memberships.items() for fleet in fleets}
    text = export.write(actual, form=form, by=by)
    assert not {letter for letter in text if not letter.isprintable()} - {"\n"}
    assert "ch_sk_live" not in text
    if form == "csv" and not expected:
        assert text == "driver,fleet,name\n"
        return
    reading = _read(text, form)
    assert _memberships(reading, actual) == expected
    managed = {fleet for fleet in actual.fleets if form != "csv" or any(fleet == pair[1] for pair in expected)}
    assert {entry.fleet for entry in reading.fleets} == {FleetById(fleet) for fleet in managed}


def test_names_are_comments_in_yaml() -> None:
    alice, vans = _driver("A"), _fleet("V")
    actual = Actual(
        fleets={vans: Fleet(vans, "Paris\n vans"), _fleet("W"): Fleet(_fleet("W"))},
        memberships={alice: frozenset({vans}), _driver("B"): frozenset()},
        emails={"alice@example.com": (alice,)},
        people={alice: Person("Alice")},
    )
    assert export.write(actual, form="yaml", by="email") == (
        f"fleets:\n  {vans}:  # Paris vans\n    - alice@example.com  # Alice\n  {_fleet('W')}: []\n"
    )
    assert export.write(actual, form="csv", by="id") == f"driver,fleet,name\n{alice},{vans},Alice\n"


def test_drivers_who_share_an_address_keep_their_ids() -> None:
    vans, twins = _fleet("V"), (_driver("A"), _driver("B"))
    actual = Actual(
        fleets={vans: Fleet(vans)},
        memberships=dict.fromkeys(twins, frozenset({vans})),
        emails={"twin@example.com": twins},
    )
    text = export.write(actual, form="json", by="email")
    assert all(twin in text for twin in twins) and "@" not in text


def test_a_driver_whose_address_looks_like_a_secret_key_keeps_its_id() -> None:
    """The reader would refuse such an address, because it may be a key."""
    vans, odd = _fleet("V"), _driver("A")
    actual = Actual(fleets={vans: Fleet(vans)}, memberships={odd: frozenset({vans})}, emails={"a.ch_sk_b@c.d": (odd,)})
    assert export.write(actual, form="csv", by="email") == f"driver,fleet,name\n{odd},{vans},\n"


def test_an_account_without_fleets_can_be_exported() -> None:
    assert export.write(Actual(fleets={}, memberships={}), form="yaml", by="id") == "fleets: {}\n"


def test_a_table_names_people_and_starts_no_formula() -> None:
    driver, fleet = _driver("A"), _fleet("V")
    for name, cell in (("Emma, of Paris", '"Emma, of Paris"'), ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("", "")):
        actual = Actual(
            fleets={fleet: Fleet(fleet)}, memberships={driver: frozenset({fleet})}, people={driver: Person(name)}
        )
        assert export.write(actual, form="csv", by="id") == f"driver,fleet,name\n{driver},{fleet},{cell}\n"
