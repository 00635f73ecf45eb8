"""The key is read again after a 401: once a run, and only a key of the same account is used."""

import anyio
import httpx
import pytest

from tests.charge import conftest
from tests.support import clocks
from worker.charge import client, key_renewal
from worker.core.model.errors import KeyChanged, KeyRejected, SettingsError
from worker.core.model.identifiers import DriverId
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret

pytestmark = pytest.mark.anyio

ALICE = DriverId("drv_" + "A" * 32)
NEW = "ch_sk_test_new"


class Account:
    """A client whose key Charge may reject, and the place where its key is kept."""

    def __init__(self, *, accepted: str, stored: str) -> None:
        self.accepted, self.stored = accepted, stored
        self.reads = 0
        self.used: list[str] = []
        self.broken = False
        http = conftest.exchange(self._answer, connections=8)
        self.renewal = key_renewal.KeyRenewal(http, read_key=self._read)
        self.client = client.Client(http=http, clock=clocks.Still(), page_size=100, renew_key=self.renewal.renew)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.used.append(request.headers["authorization"].removeprefix("Bearer "))
        if self.used[-1] != self.accepted:
            return httpx.Response(401, json={"code": "key_invalid"})
        return httpx.Response(200, json={"id": ALICE, "fleets": []})

    def _read(self) -> Secret:
        self.reads += 1
        if self.broken:
            raise SettingsError([Problem("CHARGE_API_KEY_FILE", "cannot read the file")])
        return Secret(self.stored)


async def test_a_rotated_key_is_read_again_and_the_request_is_worth_another_attempt() -> None:
    account = Account(accepted=NEW, stored=NEW)
    with pytest.raises(KeyChanged):
        await account.client.driver(ALICE)
    assert (await account.client.driver(ALICE)).id == ALICE
    assert (account.used, account.reads) == ([conftest.KEY, NEW], 1)


async def test_requests_that_are_rejected_together_share_one_reading() -> None:
    account = Account(accepted=NEW, stored=NEW)
    changed = []

    async def ask() -> None:
        try:
            await account.client.driver(ALICE)
        except KeyChanged:
            changed.append(1)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(ask)
    assert (len(changed), account.reads) == (account.used.count(conftest.KEY), 1)


@pytest.mark.parametrize("stored", [conftest.KEY, "ch_sk_live_new", "another"])
async def test_the_same_key_or_one_of_another_mode_is_not_used(stored: str) -> None:
    """A live key in the place of a test key would send the plan for one account to another."""
    account = Account(accepted=NEW, stored=stored)
    for _ in range(3):
        with pytest.raises(KeyRejected):
            await account.client.driver(ALICE)
    assert (set(account.used), account.reads) == ({conftest.KEY}, 1)


async def test_the_key_is_read_once_a_run() -> None:
    account = Account(accepted=NEW, stored=conftest.KEY)
    for reads in (1, 2):
        account.renewal.begin_run()
        for _ in range(2):
            with pytest.raises(KeyRejected):
                await account.client.driver(ALICE)
        assert account.reads == reads
    account.stored = NEW
    with pytest.raises(KeyRejected):
        await account.client.driver(ALICE)
    account.renewal.begin_run()
    with pytest.raises(KeyChanged):
        await account.client.driver(ALICE)


async def test_a_key_that_cannot_be_read_again_leaves_the_rejection() -> None:
    account = Account(accepted=NEW, stored=NEW)
    account.broken = True
    with pytest.raises(KeyRejected):
        await account.client.driver(ALICE)
