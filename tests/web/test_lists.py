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
