"""The composition root: what an account keeps from the one it replaces."""

import datetime
import pathlib
from collections.abc import AsyncIterator

import pytest

from tests.support import clocks, doubles, served
from worker.core.model.errors import KeyRejected, NotSent, Stopped
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey
from worker.core.model.plan import Action, Change
from worker.core.model.secret import Secret
from worker.core.pacing import retry_policy
from worker.core.planning import references
from worker.core.safety import guard
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
        return self.make_from(settings, before=before)

    def make_from(
        self,
        settings: model.Settings,
        *,
        before: composition.AccountRuntime | None = None,
        plan_key: Secret | None = None,
    ) -> composition.AccountRuntime:
        account = composition.AccountRuntime(
            settings=settings,
            credentials=secrets.Credentials(KEY, lambda: KEY, plan_key=plan_key),
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


def _made(accounts: Accounts, **sections: object) -> composition.AccountRuntime:
    """Make an account with these sections of the settings."""
    return accounts.make_from(model.Settings.model_validate({"sources": [{"path": "m.yaml"}], **sections}))


async def test_every_limit_of_the_guard_reaches_the_runs(accounts: Accounts) -> None:
    driver, fleet = DriverId(f"drv_{'a' * 32}"), FleetId(f"flt_{'b' * 32}")
    shrinking = {"path": "hr.csv", "name": "hr", "completeness": {"max_shrink_fraction": 0.3}}
    account = _made(
        accounts,
        sources=[{"path": "m.yaml"}, shrinking],
        guard={
            "max_detach_fraction_per_fleet": 0.5,
            "max_detach_fraction": 0.4,
            "always_allow": 7,
            "window_hours": 3.0,
            "max_attach_fraction_per_fleet": 0.6,
            "allow_emptying_fleets": True,
            "must_see": [f"{driver}/{fleet}"],
            "ignore_drivers": ["ann@acme.example"],
            "unmanaged": ["Old vans"],
        },
    )
    assert account.rules.limits == guard.Limits(
        max_detach_fraction_per_fleet=0.5,
        max_detach_fraction=0.4,
        always_allow=7,
        allow_emptying_fleets=True,
        must_see=frozenset({(driver, fleet)}),
        max_attach_fraction_per_fleet=0.6,
        window_length=datetime.timedelta(hours=3),
        max_shrink_fractions={"hr": 0.3},
    )
    assert account.rules.ignored == {references.parse_driver("ann@acme.example")}
    assert account.rules.unmanaged == {references.parse_fleet("Old vans")}
    assert account._context(composition.new_run()).options.must_see == {fleet}


async def test_how_an_account_syncs_reaches_its_runs(accounts: Accounts) -> None:
    account = _made(
        accounts,
        charge={"base_url": "https://charge.test/v1", "page_size": 50},
        sync={"mode": "additive", "apply": False, "detach_grace_seconds": 90.0},
        rate_limit={"requests_per_second": 7.0, "concurrency": 3},
        retry={"max_attempts": 4, "base_seconds": 2.0, "max_seconds": 9.0, "late_effect_seconds": 33.0},
        journal={"keep_days": 10},
    )
    rules = account.rules
    assert rules.account == Account("https://charge.test/v1", "test")
    assert (rules.mode, rules.apply, rules.grace) == ("additive", False, datetime.timedelta(seconds=90))
    assert (rules.requests_per_second, account.rate) == (7.0, 7.0)
    options = account._context(composition.new_run()).options
    assert (options.page_size, options.concurrency) == (50, 3)
    assert (options.keep, options.late_effects) == (datetime.timedelta(days=10), datetime.timedelta(seconds=33))
    assert composition._policy(account.settings) == retry_policy.RetryPolicy(4, 2.0, 9.0)


async def test_runs_are_kept_forever_where_the_settings_say_0_days(accounts: Accounts) -> None:
    account = _made(accounts, journal={"keep_days": 0})
    assert account._context(composition.new_run()).options.keep is None


async def test_fleets_that_are_selected_are_those_of_all_further_runs(accounts: Accounts) -> None:
    account = accounts.make()
    account.select_fleets(["Vans", f"flt_{'b' * 32}"])
    assert account.rules.only == {references.parse_fleet("Vans"), references.parse_fleet(f"flt_{'b' * 32}")}
    with pytest.raises(ValueError, match="flt_"):
        account.select_fleets(["flt_short"])


async def test_plans_are_signed_with_their_own_key_if_there_is_one(accounts: Accounts) -> None:
    assert accounts.make().plan_key == KEY
    own = Secret("p" * 32)
    settings = model.Settings.model_validate({"sources": [{"path": "m.yaml"}]})
    assert accounts.make_from(settings, plan_key=own).plan_key == own


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # a thread reads the sizes
async def test_the_size_of_the_journal_counts_its_log(accounts: Accounts, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "sized.db"
    account = _made(accounts, journal={"url": f"sqlite:///{path}"})
    assert await account.journal_bytes() is None
    path.write_bytes(b"x" * 100)
    assert await account.journal_bytes() == 100
    path.with_name("sized.db-wal").write_bytes(b"x" * 11)
    assert await account.journal_bytes() == 111
    assert await _made(accounts, journal={"url": "postgresql://db.invalid/fleet"}).journal_bytes() is None


async def test_a_run_begins_with_the_stop_that_the_process_was_asked_for(accounts: Accounts) -> None:
    account, reason = accounts.make(), Stopped("ended by SIGTERM", exit_code=143)
    account.process_shutdown.request_stop(reason)
    assert account._context(composition.new_run()).executor.cancellation.reason is reason


async def test_no_two_runs_or_intents_have_the_same_id(accounts: Accounts) -> None:
    assert len({composition.new_run() for _ in range(100)}) == 100
    context = accounts.make()._context(composition.new_run())
    keys = {context.new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("fleet-sync-") for key in keys)
