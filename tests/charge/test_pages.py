"""Pages of listings: one malformed object costs its own driver and no other, and none disappears."""

import json
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import strategies as st

from tests.charge import conftest
from tests.support import laws
from worker.charge import codec, pages
from worker.core.model.errors import Unreachable
from worker.core.model.identifiers import DriverId, FleetId

ALICE, BOB, CAROL = ("drv_" + letter * 32 for letter in "ABC")
VANS, DEPOT = ("flt_" + letter * 32 for letter in "VW")

LAW = laws.examples(150)


def page(*items: bytes, following: bytes = b"null") -> bytes:
    return b'{"data": [' + b", ".join(items) + b'], "next_page_url": ' + following + b', "previous_page_url": null}'


def driver(identity: str, more: bytes = b"") -> bytes:
    return b'{"id": "%s", "fleets": ["%s"]%s}' % (identity.encode(), VANS.encode(), more)


def read(body: bytes) -> tuple[list[str], tuple[str, ...], int]:
    found = pages.read(body, codec.DRIVERS)
    return [each.id for each in found.objects], found.malformed, found.unidentified


MALFORMED = {
    "half-a-surrogate-pair": rb', "name": "Ann\ud83d"',
    "half-a-pair-in-an-unknown-field": rb', "nickname": "\ude00"',
    "not-utf-8": b', "name": "\xff"',
    "control-character": b', "name": "a\x00b"',
    "name-of-a-wrong-type": b', "name": {}',
    "email-of-a-wrong-type": b', "email": [17]',
    "metadata-of-a-wrong-type": b', "metadata": []',
    "fleets-of-a-wrong-type": b', "fleets": "none"',
    "number-of-too-many-digits": b', "metadata": {"x": ' + b"9" * 6000 + b"}",
    "nested-without-end": b', "x": ' + b"[" * 20_000 + b"]" * 20_000,
    "brackets-in-text": rb', "name": {"a": "]}\"]}"}',
    "comma-missing": b' "name": "x"',
    "not-json": b', "name": undefined',
}


@pytest.mark.parametrize("more", MALFORMED.values(), ids=MALFORMED)
def test_one_malformed_driver_makes_that_driver_unknown_and_no_other(more: bytes) -> None:
    """Story: half a surrogate pair in one name, and no driver of the account could be read."""
    body = page(driver(ALICE), driver(BOB, more), driver(CAROL), following=b'"https://x/?page=2"')
    assert read(body) == ([ALICE, CAROL], (BOB,), 0)
    assert pages.read(body, codec.DRIVERS).next_page_url == "https://x/?page=2"


def test_the_others_on_such_a_page_read_as_they_are_written() -> None:
    more = b', "metadata": {"n": 1e5, "t": "0042"}, "email": "a@x", "status": "suspended"'
    found = pages.read(page(driver(ALICE, more), driver(BOB, b', "name": 1')), codec.DRIVERS)
    (alice,) = (each.driver() for each in found.objects)
    assert (alice.metadata, alice.email, alice.status) == ({"n": "1e5", "t": "0042"}, "a@x", "suspended")


@pytest.mark.parametrize(
    "item",
    [
        b"null",
        b"17",
        b'"drv_x"',
        b"[]",
        b"{}",
        b'{"id": null, "fleets": []}',
        b'{"id": 17, "fleets": []}',
        b'{"id": "drv_", "fleets": []}',
        b'{"id": "drv_../x", "fleets": []}',
        b'{"id": "flt_abc", "fleets": []}',
        b'{"id": "drv_abc\\n", "fleets": []}',
        b'{"fleets": []}',
        rb'{"ID": "drv_abc", "name": "\ud83d"}',
        rb'{"name": "\"id\": \"drv_abc\"", "fleets": 1}',
    ],
)
def test_an_object_without_a_valid_id_is_counted(item: bytes) -> None:
    assert read(page(driver(ALICE), item, driver(BOB))) == ([ALICE, BOB], (), 1)


@pytest.mark.parametrize("total", [b"1e3", b'"24"', b"24.5", b"9" * 5000, b"true"])
def test_a_count_that_cannot_be_makes_its_fleet_malformed(total: bytes) -> None:
    items = [b'{"id": "%s", "total_drivers": %s}' % (VANS.encode(), total), b'{"id": "%s"}' % DEPOT.encode()]
    found = pages.read(page(*items), codec.FLEETS)
    assert ([each.id for each in found.objects], found.malformed) == ([DEPOT], (VANS,))


@pytest.mark.parametrize("total", [-1, 1_000_000_001, 2**62, 10**30])
def test_a_count_out_of_bounds_is_none(total: int) -> None:
    body = page(b'{"id": "%s", "total_drivers": %d}' % (VANS.encode(), total))
    (fleet,) = (each.fleet() for each in pages.read(body, codec.FLEETS).objects)
    assert fleet.total_drivers is None


@pytest.mark.parametrize("total", [0, 1, codec.MAX_COUNT])
def test_a_count_within_bounds_is_believed(total: int) -> None:
    body = page(b'{"id": "%s", "total_drivers": %d}' % (VANS.encode(), total))
    (fleet,) = (each.fleet() for each in pages.read(body, codec.FLEETS).objects)
    assert fleet.total_drivers == total


@pytest.mark.parametrize(
    ("document", "fits"),
    [
        ({"data": [], "next_page_url": None}, True),
        ({"data": None, "next_page_url": None}, True),
        ({"data": [], "next_page_url": None, "previous_page_url": 0, "more": {}}, True),
        ({"data": [], "next_page_url": None, "has_more": False}, True),
        ({"next_page_url": None}, False),
        ({"data": []}, False),
        ({"data": {}, "next_page_url": None}, False),
        ({"data": [], "next_page_url": 0}, False),
        ([], False),
        (None, False),
    ],
)
def test_a_page_without_its_end_is_no_page(document: object, fits: bool) -> None:
    """A page that lacks `next_page_url` was cut off somewhere; only null is the end."""
    body = json.dumps(document).encode()
    if fits:
        assert read(body) == ([], (), 0)
    else:
        with pytest.raises(Unreachable) as caught:
            read(body)
        assert caught.value.code == "answer_unreadable"


@pytest.mark.parametrize(
    "body", [page(driver(ALICE))[:-1], page(driver(ALICE)) + b" x", page(driver(ALICE), b"{"), b""]
)
def test_a_page_that_was_cut_off_is_no_page(body: bytes) -> None:
    with pytest.raises(Unreachable):
        read(body)


@pytest.mark.parametrize(
    "document",
    [
        {"object": "list", "data": [], "has_more": False},
        {"object": "list", "data": [{"id": ALICE, "fleets": [], "created": 1772366400}], "has_more": True},
        {"data": [{"id": ALICE, "fleets": [], "created": 1772366400}], "next_page_url": None},
        {"data": [{"id": i, "fleets": [], "created": 1} for i in (ALICE, BOB)], "next_page_url": None},
    ],
)
def test_a_page_of_another_version_names_the_header(document: object) -> None:
    """Story: an older edition of the reference shows `has_more`, and `created` as a number."""
    with pytest.raises(Unreachable, match="Charge-Version") as caught:
        read(json.dumps(document).encode())
    assert caught.value.code == "api_version"
    assert "charge.api_version" in caught.value.remedy


def test_an_object_of_another_version_names_the_header() -> None:
    with pytest.raises(Unreachable, match="Charge-Version"):
        codec.decode(json.dumps({"id": ALICE, "fleets": [], "created": 1772366400}).encode(), codec.DRIVERS)


@pytest.mark.parametrize("created", ["2026-03-01T12:00:00.000Z", None, 1.5, {}])
def test_a_moment_in_another_form_is_no_other_version(created: object) -> None:
    items = [json.dumps({"id": ALICE, "fleets": [], "created": created}).encode(), driver(BOB)]
    assert read(page(*items)) == ([ALICE, BOB], (), 0)


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@LAW
@hypothesis.given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "id": st.sampled_from([ALICE, BOB, CAROL, "drv_", VANS]) | _VALUES,
                "fleets": st.none() | st.just([VANS]) | _VALUES,
                "name": st.text(alphabet=st.characters(codec=None), max_size=4) | _VALUES,  # also half pairs
            },
        )
        | _VALUES,
        max_size=5,
    )
)
def test_every_object_is_read_malformed_or_counted(items: list[Any]) -> None:
    found = pages.read(json.dumps({"data": items, "next_page_url": None}).encode(), codec.DRIVERS)
    assert len(found.objects) + len(found.malformed) + found.unidentified == len(items)


@pytest.mark.anyio
async def test_the_client_names_who_cannot_be_read() -> None:
    bodies = {
        "drivers": page(driver(ALICE), driver(BOB, b', "name": 1'), b"null"),
        "fleets": page(
            b'{"id": "%s", "timezone": "Europe/Paris"}' % VANS.encode(), b'{"id": "flt_x", "name": 1}', b"{}"
        ),
    }
    api = conftest.client_of(lambda request: httpx.Response(200, content=bodies[request.url.path.split("/")[-1]]))
    drivers, fleets = await api.drivers_page(None), await api.fleets_page(None)
    assert ([each.id for each in drivers.drivers], drivers.malformed, drivers.unidentified) == (
        [ALICE],
        (DriverId(BOB),),
        1,
    )
    assert (fleets.malformed, fleets.unidentified) == ((FleetId("flt_x"),), 1)
    assert [(each.id, each.timezone) for each in fleets.fleets] == [(VANS, "Europe/Paris")]
