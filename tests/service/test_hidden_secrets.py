"""Whoever reads a secret keeps it out of the log from then on."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.support import doubles
from worker import logs
from worker.cli import context, exit_watchdog, once
from worker.core.model.secret import Secret
from worker.service import account_reader, cluster, composition
from worker.settings import loader, secrets

KEY, TOKEN, PLAN_KEY = "ch_sk_test_key_of_the_tests", "token-of-the-status-page", "key-that-signs-saved-plans"
PROXY, HOOK, ROUTING_KEY = "http://u:pass@proxy.test:8080", "https://hooks.test/services/x", "0123456789abcdef0123"
PASSWORD = "password-of-the-database"
EVERY = {KEY, TOKEN, PLAN_KEY, PROXY, HOOK, ROUTING_KEY}
ENVIRON = {"CHARGE_API_KEY": KEY, "FLEET_SYNC_STATUS_TOKEN": TOKEN, "FLEET_SYNC_PLAN_KEY": PLAN_KEY}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Forget the secrets of other tests, and afterwards those of this one."""
    logs._texts.clear()
    yield
    logs._texts.clear()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Write the settings of an account that has every secret, and return where they are."""
    (tmp_path / "proxy").write_text(PROXY)
    (tmp_path / "pagerduty").write_text(ROUTING_KEY)
    path = tmp_path / "fleet-sync.toml"
    path.write_text(
        f'''
        charge.proxy_url_file = "proxy"
        sources = [{{ path = "members.yaml" }}]
        notify = [{{ kind = "slack", url = "{HOOK}" }}, {{ kind = "pagerduty", url_file = "pagerduty" }}]
        '''
    )
    return path


def hidden() -> set[str]:
    return {text for text in EVERY | {PASSWORD} if logs._masked(f"before {text} after") == "before [secret] after"}


def test_a_service_hides_every_secret(path: pathlib.Path) -> None:
    account_reader.operator(lambda: loader.load(path, {}), ENVIRON)
    assert hidden() == EVERY


def test_the_page_of_many_accounts_hides_its_token() -> None:
    account_reader.status_token(ENVIRON)
    assert hidden() == {TOKEN}


def test_a_command_hides_what_it_connects_with(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(exit_watchdog, "exit_soon", lambda code: None)  # this process goes on

    async def look(_account: composition.AccountRuntime) -> int:
        assert hidden() == {KEY, PLAN_KEY, PROXY}
        return 7

    assert context.CommandContext(str(path), "json", "error").with_account(look) == 7


@pytest.mark.anyio
async def test_a_job_hides_the_addresses_of_its_notifications(path: pathlib.Path) -> None:
    async with composition.account(
        loader.load(path, {}),
        secrets.Credentials(Secret(KEY), lambda: Secret(KEY)),
        progress=doubles.Watcher(),
    ) as account:
        hooks = once._hooks(account)
    assert hidden() == {HOOK, ROUTING_KEY}
    assert len(hooks) == 2


def test_a_key_that_is_read_again_is_hidden_too() -> None:
    old, new = Secret("ch_sk_test_key_until_now"), Secret(KEY)
    assert composition._read_key(secrets.Credentials(old, lambda: new)) == new
    assert hidden() == {KEY}


def test_a_cluster_hides_the_password_of_its_database(tmp_path: pathlib.Path) -> None:
    (tmp_path / "_defaults.toml").write_text('[cluster]\nurl_file = "database"\n')
    (tmp_path / "database").write_text(f"postgresql://u:{PASSWORD}@db.test/fleet")
    cluster.cluster(tmp_path)
    assert hidden() == {PASSWORD}
