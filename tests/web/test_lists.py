"""The pages that list all fleets and all runs."""

import dataclasses
import html
import re

import pytest

from tests.web import conftest, doubles
from worker.core.monitoring import status
from worker.web import lists

pytestmark = pytest.mark.anyio


def _rows(page: str) -> list[str]:
    """Return the addresses that the rows of the only table lead to."""
    return re.findall(r'<th scope="row"><a href="([^"]+)"', page)


@pytest.mark.integration
async def test_all_runs_are_found_by_going_to_older_ones() -> None:
    service = doubles.Service()
    await doubles.past(service, 2 * lists.ROWS + 3)
    everything, path = list[str](), "/runs"
    while path:
        page = await conftest.read(service, path)
        everything += _rows(page)
        found = re.search(r'<a href="([^"]+)">Older</a>', page)
        path = html.unescape(found[1]) if found else ""
    assert everything == [f"/runs/{past.run}" for past in await service.record.runs()]
    assert "Newest" in page


@pytest.mark.integration
async def test_runs_are_listed_by_their_result() -> None:
    service = doubles.Service()
    await doubles.past(service, 2 * lists.ROWS)
    assert len(_rows(await conftest.read(service, "/runs?result=failed"))) == 2
    assert "The journal has no run with this result." in conftest.plain(
        await conftest.read(service, "/runs?result=observed")
    )
    assert _rows(await conftest.read(service, "/runs?result=nonsense")) == _rows(await conftest.read(service, "/runs"))
    assert "The journal has no older run." in conftest.plain(await conftest.read(service, "/runs?before=run_of_nobody"))


def _many(count: int) -> doubles.Service:
    """Serve fleets with ever more members; of the first eight, two are in each of four states."""
    fleets = [status.Fleet(doubles.fleet(n), f"Fleet {n:03}", in_sync=n) for n in range(count)]
    for number in range(8):
        state = lists.FLEET_STATES[number % 4]
        fleets[number] = dataclasses.replace(fleets[number], **{state: 1})  # type: ignore[arg-type]
    return doubles.Service(doubles.calm(fleets=tuple(fleets)))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [*range(lists.ROWS)]),
        ("?sort=name", [*range(lists.ROWS)]),
        ("?sort=members&page=3", [*range(19, -1, -1)]),
        ("?state=held", [1, 5]),
        ("?state=in_sync&sort=members", [*range(119, 69, -1)]),
        ("?page=99", [*range(100, 120)]),
        ("?page=-1&state=x&sort=y", [*range(lists.ROWS)]),
    ],
)
async def test_fleets_are_listed_by_state_and_in_an_order(query: str, found: list[int]) -> None:
    assert _rows(await conftest.read(_many(120), f"/fleets{query}")) == [f"/fleets/{doubles.fleet(n)}" for n in found]


async def test_a_list_of_fleets_counts_them_by_state_and_keeps_the_choice_while_paging() -> None:
    page = await conftest.read(_many(120), "/fleets?state=in_sync&sort=name&page=2")
    assert (
        "In sync 112" in conftest.plain(page) and "Held 2" in conftest.plain(page) and "2 of 3" in conftest.plain(page)
    )
    assert re.search(r'<a href="/fleets\?sort=name&amp;state=in_sync&amp;page=3">Next</a>', page)
    assert "No fleet is frozen." in conftest.plain(await conftest.read(doubles.Service(), "/fleets?state=frozen"))
    assert "No managed fleet is known yet." in conftest.plain(
        await conftest.read(doubles.Service(doubles.starting()), "/fleets")
    )


@pytest.mark.parametrize(("count", "has_older"), [(lists.ROWS, False), (lists.ROWS + 1, True)])
async def test_a_page_of_runs_leads_to_older_ones_only_if_there_are_any(count: int, has_older: bool) -> None:
    service = doubles.Service()
    await doubles.past(service, count - 1)
    page = await conftest.read(service, "/runs")
    assert len(_rows(page)) == lists.ROWS
    assert (">Older</a>" in page) is has_older


@pytest.mark.parametrize(
    ("count", "query", "page"),
    [
        (lists.ROWS, "?page=2", "1"),
        (lists.ROWS + 1, "?page=2", "2"),
        (120, "?page=0", "1"),
        (120, "?page=3", "3"),
        (120, "?page=0000003", "1"),
        (120, "?page=%C2%B2", "1"),
        (120, "?page=3.", "1"),
    ],
)
async def test_a_page_that_is_not_there_is_the_nearest_one_and_what_is_no_number_the_first(
    count: int, query: str, page: str
) -> None:
    first = (int(page) - 1) * lists.ROWS
    assert _rows(await conftest.read(_many(count), f"/fleets{query}"))[0] == f"/fleets/{doubles.fleet(first)}"


async def test_fleets_of_the_same_state_are_in_the_order_of_their_names_whatever_their_case() -> None:
    fleets = [status.Fleet(doubles.fleet(n), name, in_sync=n % 2) for n, name in enumerate(("b", "A", "c", "B", "a"))]
    fleets[2] = dataclasses.replace(fleets[2], held=1)
    service = doubles.Service(doubles.calm(fleets=tuple(fleets)))
    same_name = [sorted(pair, key=doubles.fleet) for pair in ((1, 4), (0, 3))]
    by_name = [*same_name[0], *same_name[1]]
    for query, expected in (
        ("", [2, *by_name]),
        ("?sort=name", [*by_name, 2]),
        ("?sort=members", [1, 3, 4, 0, 2]),
    ):
        found = _rows(await conftest.read(service, f"/fleets{query}"))
        assert found == [f"/fleets/{doubles.fleet(n)}" for n in expected], query


async def test_a_fleet_counts_in_every_state_that_it_has() -> None:
    fleet = dataclasses.replace(doubles.FLEETS[0], held=2, refused=1)
    page = conftest.plain(
        await conftest.read(doubles.Service(doubles.calm(fleets=(fleet, *doubles.FLEETS[1:]))), "/fleets")
    )
    assert "In sync 5" in page and "Held 1" in page and "Refused 1" in page
