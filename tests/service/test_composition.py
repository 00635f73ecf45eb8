"""The composition root: what an account keeps from the one it replaces."""

import pathlib
from collections.abc import AsyncIterator

import pytest

from tests.support import clocks, doubles, served
from worker.core.model.errors import KeyRejected, NotSent
from worker.core.model.identifiers import DriverId, FleetId, IntentKey
from worker.core.model.plan import Action, Change
from worker.core.model.secret import Secret
from worker.engine import concurrency
from worker.journal import sql_journal
from worker.sandbox import app as sandbox
from worker.sandbox import state
from worker.service import composition, shutdown
from worker.settings import model, secrets

KEY = Secret("ch_sk_test_x")

pytestmark = pytest.mark.anyio


class Accounts:
    """Accounts that share one journal."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.journal = sql_journal.SqlJournal(f"sqlite:///{folder / 'journal.db'}", clock=clocks.Still())
        self.made: list[composition.AccountRuntime] = []

    def make(
        self, *, before: composition.AccountRuntime | None = None, base_url: str = "", **rate_limit: float
    ) -> composition.AccountRuntime:
        charge = {"base_url": base_url} if base_url else {}
        settings = model.Settings.model_validate(
            {"sources": [{"kind": "file", "path": "m.yaml"}], "rate_limit": rate_limit, "charge": charge}
        )
        account = composition.AccountRuntime(
            settings=settings,
            credentials=secrets.Credentials(KEY, lambda: KEY),
            journal=self.journal,
            process_shutdown=shutdown.Shutdown(),
            progress=doubles.Watcher(),
            before=before,
        )
        self.made.append(account)
        return account


@pytest.fixture
async def accounts(tmp_path: pathlib.Path) -> AsyncIterator[Accounts]:
    accounts = Accounts(tmp_path)
    yield accounts
    for account in accounts.made:
        await account.aclose()
    await accounts.journal.aclose()


async def test_a_reload_keeps_the_learned_rate_and_a_pause_in_progress(accounts: Accounts) -> None:
    before = accounts.make()
    before._limiter.limited(0.0, retry_after=60.0)
    after = accounts.make(before=before)
    assert after._limiter is before._limiter


async def test_a_reload_before_the_first_run_still_adopts_the_journal(accounts: Accounts) -> None:
    before = accounts.make()
    before.adopt_journal(allowed=True)
    assert accounts.make(before=before).rules.adopt_journal
    assert not accounts.make().rules.adopt_journal


async def test_a_changed_rate_limit_starts_from_the_new_settings(accounts: Accounts) -> None:
    before = accounts.make()
    after = accounts.make(before=before, requests_per_second=7)
    assert (before.rate, after.rate) == (25, 7)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # a real server takes real time
async def test_a_write_is_not_sent_once_the_journal_says_that_it_may_not_be(accounts: Accounts) -> None:
    class EndedPermit(sql_journal.SqlJournal):
        def may_send(self) -> bool:
            return False

    accounts.journal = EndedPermit("sqlite:///unused.db", clock=clocks.Still())
    charge = sandbox.Sandbox(state.SandboxState.populate(drivers=1, fleets=1))
    with served.over_http(charge) as url:
        account = accounts.make(base_url=url)
        driver, fleet = next(iter(charge.state.drivers)), next(iter(charge.state.fleets))
        change = Change(Action.ATTACH, DriverId(driver), FleetId(fleet))
        with pytest.raises(NotSent):
            await account._client.write(change, key=IntentKey("fleet-sync-1"))
        assert charge.requests == []
        with pytest.raises(KeyRejected):  # reading takes no permit
            await account._client.driver(change.driver)


async def test_every_account_computes_in_threads(accounts: Accounts) -> None:
    """A process has a page, probes and heartbeats, and perhaps other accounts, that must not wait for a large plan."""
    assert accounts.make()._context(composition.new_run()).compute is concurrency.in_thread
