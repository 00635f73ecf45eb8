"""Lists: pages, filters, tokens, and pages that shift."""

import base64
import itertools
import urllib.parse
from typing import Literal

import pytest

from tests.sandbox import conftest
from tests.support import sandbox as support
from worker.sandbox import app, faults, objects, pages, quirks, state

pytestmark = pytest.mark.anyio

Pages = Literal["offset", "cursor"]
KINDS = pytest.mark.parametrize("kind", ["offset", "cursor"])


def _sandbox(drivers: int = 25, kind: Pages = "offset") -> tuple[app.Sandbox, str]:
    """Return a sandbox with one fleet that contains every driver."""
    held = state.SandboxState()
    fleet = held.add_fleet(name="Paris vans")
    for _ in range(drivers):
        held.add_driver(fleets=[fleet])
    return app.Sandbox(held, quirks=quirks.Quirks(pages=kind)), fleet


@KINDS
@pytest.mark.parametrize("limit", [1, 7, 10, 25, 100])
async def test_following_the_links_shows_everything_once(kind: Pages, limit: int) -> None:
    sandbox, fleet = _sandbox(kind=kind)
    async with support.client(sandbox) as api:
        for path in (f"drivers?limit={limit}", f"drivers?fleet={fleet}&limit={limit}"):
            found = await support.walk(api, path)
            assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
            assert list(itertools.chain(*found)) == list(sandbox.state.newest_drivers())


async def test_a_page_has_ten_objects_unless_told() -> None:
    sandbox, _ = _sandbox()
    async with support.client(sandbox) as api:
        assert [len(page) for page in await support.walk(api, "drivers")] == [10, 10, 5]


@KINDS
async def test_the_way_back_shows_the_same_pages(kind: Pages) -> None:
    sandbox, _ = _sandbox(kind=kind)
    async with support.client(sandbox) as api:
        seen, address = [], "drivers?limit=10"
        while address:
            page = (await api.get(address)).json()
            seen.append(page["data"])
            address = page["next_page_url"]
        back, address = [page["data"]], page["previous_page_url"]
        while address:
            page = (await api.get(address)).json()
            back.append(page["data"])
            address = page["previous_page_url"]
    assert back == seen[::-1]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "ten", "", "1.5", "²"])
async def test_a_limit_outside_1_to_100_is_a_bad_request(account: conftest.Account, limit: str) -> None:
    async with support.client(account.sandbox) as api:
        reply = await api.get("drivers", params={"limit": limit})
    assert (reply.status_code, reply.json()["param"]) == (400, "limit")


async def test_drivers_are_filtered_by_fleet_and_vehicle(account: conftest.Account) -> None:
    bob = account.state.add_driver(fleets=[account.depot])
    async with support.client(account.sandbox) as api:
        assert await support.walk(api, f"drivers?fleet={account.vans}") == [[account.alice]]
        assert await support.walk(api, f"drivers?vehicle={objects.vehicle(bob)}") == [[bob]]
        assert await support.walk(api, f"drivers?fleet={account.vans}&vehicle={objects.vehicle(bob)}") == [[]]


async def test_fleets_are_filtered_by_status_driver_and_vehicle(account: conftest.Account) -> None:
    account.state.change_fleet(account.depot, status="suspended")
    async with support.client(account.sandbox) as api:
        assert await support.walk(api, "fleets") == [[account.depot, account.vans]]
        assert await support.walk(api, "fleets?status=suspended") == [[account.depot]]
        assert await support.walk(api, f"fleets?driver={account.alice}") == [[account.vans]]
        assert await support.walk(api, f"fleets?vehicle={objects.vehicle(account.alice)}") == [[account.vans]]
        assert (await api.get("fleets?status=sleepy")).json()["param"] == "status"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("drivers?fleet=flt_no", "fleet_not_found"),
        ("drivers?vehicle=veh_no", "vehicle_not_found"),
        ("fleets?driver=drv_no", "driver_not_found"),
        ("fleets?vehicle=veh_no", "vehicle_not_found"),
    ],
)
async def test_a_filter_by_what_does_not_exist_is_refused_or_finds_nothing(
    account: conftest.Account, path: str, code: str
) -> None:
    async with support.client(account.sandbox) as api:
        reply = await api.get(path)
        assert (reply.status_code, reply.json()["code"]) == (404, code)
        account.sandbox.quirks = quirks.Quirks(unknown_filter="empty")
        assert await support.walk(api, path) == [[]]


async def test_a_token_belongs_to_its_filters() -> None:
    sandbox, fleet = _sandbox()
    async with support.client(sandbox) as api:
        following = (await api.get(f"drivers?fleet={fleet}&limit=5")).json()["next_page_url"]
        assert (await api.get(following)).status_code == 200
        for other in (following.replace("limit=5", "limit=6"), following.replace(f"fleet={fleet}&", "")):
            assert (await api.get(other)).json()["param"] == "page"


@pytest.mark.parametrize("token", ["", "x", "é", "bm90IG91cnM=", "2"])
async def test_an_invented_token_is_a_bad_request(account: conftest.Account, token: str) -> None:
    async with support.client(account.sandbox) as api:
        assert (await api.get("drivers", params={"page": token})).json()["param"] == "page"


async def test_a_token_that_was_changed_is_a_bad_request() -> None:
    sandbox, _ = _sandbox()
    async with support.client(sandbox) as api:
        address = (await api.get("drivers?limit=5")).json()["next_page_url"]
        token = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))["page"]
        changed = base64.urlsafe_b64encode(base64.urlsafe_b64decode(token).replace(b'":5,', b'":6,'))
        assert changed.decode() != token
        for page, status in ((token, 200), (changed.decode(), 400)):
            assert (await api.get("drivers", params={"limit": "5", "page": page})).status_code == status


async def test_offset_pages_miss_an_object_when_an_earlier_one_goes() -> None:
    sandbox, fleet = _sandbox(6, "offset")
    ids = sandbox.state.newest_drivers()
    async with support.client(sandbox) as api:
        page = (await api.get(f"drivers?fleet={fleet}&limit=3")).json()
        sandbox.state.detach(ids[0], fleet)
        assert await support.walk(api, page["next_page_url"]) == [list(ids[4:])]


async def test_offset_pages_repeat_an_object_when_a_newer_one_comes() -> None:
    sandbox, fleet = _sandbox(6, "offset")
    ids = sandbox.state.newest_drivers()
    async with support.client(sandbox) as api:
        page = (await api.get(f"drivers?fleet={fleet}&limit=3")).json()
        sandbox.state.add_driver(fleets=[fleet])
        assert await support.walk(api, page["next_page_url"]) == [list(ids[2:5]), [ids[5]]]


async def test_cursor_pages_stay_where_they_are() -> None:
    sandbox, fleet = _sandbox(6, "cursor")
    ids = sandbox.state.newest_drivers()
    async with support.client(sandbox) as api:
        page = (await api.get(f"drivers?fleet={fleet}&limit=3")).json()
        sandbox.state.detach(ids[2], fleet)
        sandbox.state.add_driver(fleets=[fleet])
        assert await support.walk(api, page["next_page_url"]) == [list(ids[3:])]


@KINDS
async def test_a_list_that_empties_while_it_is_read_ends(kind: Pages) -> None:
    sandbox, fleet = _sandbox(6, kind)
    async with support.client(sandbox) as api:
        page = (await api.get(f"drivers?fleet={fleet}&limit=3")).json()
        for driver in sandbox.state.newest_drivers():
            sandbox.state.detach(driver, fleet)
        assert await support.walk(api, page["next_page_url"]) == [[]]


@KINDS
async def test_a_cap_ends_a_list_silently(kind: Pages) -> None:
    sandbox, _ = _sandbox(25)
    sandbox.quirks = quirks.Quirks(pages=kind, page_cap=13)
    async with support.client(sandbox) as api:
        found = await support.walk(api, "drivers?limit=5")
    assert [len(page) for page in found] == [5, 5, 3]


async def test_links_lead_to_the_address_that_was_asked() -> None:
    sandbox, _ = _sandbox()
    async with support.client(sandbox) as api:
        following = (await api.get("https://other.test:8443/v1/drivers?limit=1")).json()["next_page_url"]
    assert following.startswith("https://other.test:8443/v1/drivers?limit=1&page=")


class TestFaults:
    """Each fault of lists, on a list of three pages."""

    @KINDS
    async def test_a_shifted_page_misses_one_object(self, kind: Pages) -> None:
        sandbox, _ = _sandbox(25, kind)
        sandbox.faults = faults.Faults(script=[None, "shift"])
        ids = list(sandbox.state.newest_drivers())
        async with support.client(sandbox) as api:
            assert list(itertools.chain(*await support.walk(api, "drivers"))) == ids[:10] + ids[11:]

    @KINDS
    async def test_a_repeating_page_shows_one_object_again(self, kind: Pages) -> None:
        sandbox, _ = _sandbox(25, kind)
        sandbox.faults = faults.Faults(script=[None, "repeat"])
        ids = list(sandbox.state.newest_drivers())
        async with support.client(sandbox) as api:
            assert list(itertools.chain(*await support.walk(api, "drivers"))) == ids[:10] + ids[9:]

    async def test_a_repeating_first_page_shows_its_last_object_twice(self) -> None:
        sandbox, _ = _sandbox(3)
        sandbox.faults = faults.Faults(script=["repeat"])
        ids = list(sandbox.state.newest_drivers())
        async with support.client(sandbox) as api:
            assert await support.walk(api, "drivers") == [[*ids, ids[-1]]]

    @KINDS
    @pytest.mark.parametrize("page_number", [0, 1, 2])
    async def test_a_looping_page_leads_to_itself(self, kind: Pages, page_number: int) -> None:
        sandbox, _ = _sandbox(25, kind)
        sandbox.faults = faults.Faults(script=[None] * page_number + ["loop"] * 3)
        async with support.client(sandbox) as api:
            found = await support.walk(api, "drivers?limit=10", most=page_number + 3)
        assert found[page_number] == found[page_number + 1] == found[page_number + 2]
        repeated = [dict(record.query) for record in sandbox.requests[page_number:]]
        assert repeated == [repeated[0]] * 3

    @pytest.mark.parametrize("page_number", [0, 1, 2])
    async def test_a_list_cut_short_says_that_it_is_over(self, page_number: int) -> None:
        sandbox, _ = _sandbox(30)
        sandbox.faults = faults.Faults(script=[None] * page_number + ["cut_short"])
        async with support.client(sandbox) as api:
            assert [len(page) for page in await support.walk(api, "drivers")] == [10] * page_number + [5]

    async def test_a_foreign_page_leads_to_another_origin(self) -> None:
        sandbox, fleet = _sandbox(3)
        sandbox.faults = faults.Faults(script=["foreign"])
        async with support.client(sandbox) as api:
            following = (await api.get(f"drivers?fleet={fleet}")).json()["next_page_url"]
        assert following == f"{pages.FOREIGN}/drivers?fleet={fleet}"

    @KINDS
    @pytest.mark.parametrize("drivers", [0, 25])
    async def test_an_endless_list_has_ever_new_addresses(self, kind: Pages, drivers: int) -> None:
        sandbox, _ = _sandbox(drivers, kind)
        sandbox.faults = faults.Faults({"endless": 1})
        async with support.client(sandbox) as api:
            found = await support.walk(api, "drivers", most=20)
        assert found == [found[0]] * 20
        assert len({record.query.get("page") for record in sandbox.requests}) == 20

    async def test_a_fault_of_pages_leaves_everything_else_alone(self, account: conftest.Account) -> None:
        account.sandbox.faults = faults.Faults({name: 1 for name in faults.LISTS})
        async with support.client(account.sandbox) as api:
            assert (await api.get(f"drivers/{account.alice}")).status_code == 200
        assert account.sandbox.requests[0].fault is None
