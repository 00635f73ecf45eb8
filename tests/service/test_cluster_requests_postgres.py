"""What is asked of a worker for an account that it does not run, and what it shows of workers of a newer version."""

import anyio
import pytest
import structlog.testing

from tests.journal.conftest import postgres_host, postgresql_backend
from tests.service.test_cluster_worker_postgres import Folder, anyio_backend, folder, until
from worker.core.model.errors import JournalError, SettingsError
from worker.core.model.secret import Secret
from worker.core.monitoring.account_overview import Condition
from worker.dispatch import job_queue
from worker.journal import claims
from worker.service import cluster as clusters
from worker.service import cluster_defaults, cluster_run, cluster_worker
from worker.settings import model, secrets
from worker.web import metrics

__all__ = ["anyio_backend", "folder", "postgres_host", "postgresql_backend"]

pytestmark = pytest.mark.anyio

LATER = "UPDATE cluster_accounts SET due_at = now() + interval '1 hour', delay_seconds = 7200"


async def test_a_run_that_is_asked_for_while_the_database_is_away_is_made_once_it_is_back(folder: Folder) -> None:
    folder.add("acme")
    folder.shared.tell(LATER)
    async with folder.worker("a") as process:
        await until(process, lambda seen: "acme" in seen)
        controls = process.controls("acme")
        assert controls is not None and process.service("acme") is None
        assert process.controls("bolt") is None
        with structlog.testing.capture_logs() as logs:
            folder.shared.tell("ALTER TABLE cluster_accounts RENAME TO away")
            controls.sync()
            with anyio.fail_after(60):
                while not any(each["event"] == "permits_not_renewed" for each in logs):  # noqa: ASYNC110 - a log
                    await anyio.sleep(0.02)
            folder.shared.tell("ALTER TABLE away RENAME TO cluster_accounts")
        await until(process, lambda seen: seen["acme"].condition is Condition.IN_SYNC)


async def test_what_a_newer_version_says_of_an_account_does_not_end_an_older_worker(folder: Folder) -> None:
    folder.add("acme")
    folder.shared.tell(LATER)
    folder.shared.tell("UPDATE cluster_accounts SET condition = 'dormant', broken = 'quantum source'")
    async with folder.worker("a") as process:
        seen = await until(process, lambda seen: "acme" in seen)
    assert (seen["acme"].condition, {part.value for part in seen["acme"].broken}) == (Condition.ATTENTION, {"source"})


async def test_a_key_that_is_read_again_must_still_be_no_other_accounts(folder: Folder) -> None:
    folder.add("acme")
    folder.add("bolt")
    process = folder.shared.process("a")
    acme, bolt = process.claimed("acme"), process.claimed("bolt")
    settings = model.Settings.model_validate({"sources": [{"path": "any.yaml"}]})
    keys = [Secret("ch_sk_test_first"), Secret("ch_sk_test_second")]

    def own(claim: claims.Claim, key: Secret) -> secrets.Credentials:
        return cluster_run.own_key(process.claims, claim, settings, secrets.Credentials(key, lambda: keys[0]))

    assert own(acme, keys[0]).read_key() is keys[0]
    read_again = own(bolt, keys[1]).read_key
    with pytest.raises(SettingsError, match="bolt: the account acme has the same key"):
        read_again()
    folder.shared.tell("ALTER TABLE cluster_accounts RENAME TO away")
    with pytest.raises(SettingsError, match="cannot be used"):
        read_again()


async def test_a_user_who_may_not_make_the_queue_is_said(folder: Folder) -> None:
    """The tables of the journal may have been made by another user."""
    schema = folder.shared.backend.schema
    folder.shared.tell(f"CREATE ROLE poor LOGIN; GRANT USAGE ON SCHEMA {schema} TO poor")
    folder.shared.tell(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO poor")
    (folder.path / "database").write_text(folder.shared.backend.url.replace("postgres@", "poor@"))
    try:
        member = job_queue.Member("a", concurrency=4, stall_seconds=60)
        defaults = cluster_defaults.ClusterDefaults(lambda: clusters.cluster(folder.path))
        process = cluster_worker.ClusterWorker(defaults, member, environ={}, gauges=metrics.Metrics())
        await process.open()
        with pytest.raises(JournalError, match="permission denied") as raised:
            await process.run()
        assert "create tables" in raised.value.remedy
        await process.aclose()
    finally:
        folder.shared.tell("DROP OWNED BY poor; DROP ROLE poor")


async def test_two_accounts_whose_keys_were_mixed_up_can_exchange_them(folder: Folder) -> None:
    folder.add("acme")
    folder.add("bolt")
    process = folder.shared.process("a")
    acme, bolt = process.claimed("acme"), process.claimed("bolt")
    first, second = Secret("ch_sk_test_first"), Secret("ch_sk_test_second")
    url = "https://charge.example.com/v1"
    kept = [process.claims.keep_key(claim, key, base_url=url) for claim, key in ((acme, first), (bolt, second))]
    assert kept == [None, None]
    exchanged = [(acme, second, "bolt"), (bolt, first, None), (acme, second, None)]
    for claim, key, other in exchanged:
        assert process.claims.keep_key(claim, key, base_url=url) == other
    assert process.claims.keep_key(bolt, second, base_url=url) == "acme"
