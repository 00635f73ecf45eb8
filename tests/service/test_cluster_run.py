"""What is left behind of a cluster's account that cannot run, and whose key a run uses. Without a database."""

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
import structlog

from tests.support import clocks
from worker.core.model.errors import FleetSyncError, JournalError, SettingsError, Stopped
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.core.monitoring import status
from worker.journal import claims, connection_pool
from worker.service import account_service, cluster_facade, cluster_run
from worker.settings import model, secrets
from worker.web import metrics

pytestmark = pytest.mark.anyio

KEY = Secret("ch_sk_test_x")
DUE = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
OPERATOR = account_service.Operator(
    model.Settings.model_validate({"sources": [{"path": "m.yaml"}], "sync": {"drain_seconds": 7.0}}),
    secrets.Credentials(KEY, lambda: KEY),
)
WRONG = SettingsError([Problem("acme:1:1", "wrong"), Problem("acme:2:1", "wrong too")])
AWAY = JournalError("connection timed out")


class Claims:
    """Takes the place of claims.Claims: releases as scripted, then as asked, and knows whose a key is."""

    def __init__(self, *script: JournalError | bool, owner: str | None = None) -> None:
        self.script = list(script)
        self.released: list[claims.Release] = []
        self.owner: str | JournalError | None = owner
        self.keys: list[tuple[str, Secret, str]] = []

    def uptime(self) -> float:
        return 0.0

    def release(self, claim: claims.Claim, release: claims.Release) -> bool:
        self.released.append(release)
        match self.script.pop(0) if self.script else True:
            case JournalError() as error:
                raise error
            case bool() as own:
                return own

    def keep_key(self, claim: claims.Claim, key: Secret, *, base_url: str) -> str | None:
        self.keys.append((claim.name, key, base_url))
        if isinstance(self.owner, JournalError):
            raise self.owner
        return self.owner


def made(
    held: Claims, read: Callable[[], account_service.Operator] = lambda: OPERATOR, *, epoch: int = 5, **fields: Any
) -> cluster_run.ClusterRun:
    """Make the run of an account that was claimed so."""
    own = cast("claims.Claims", held)
    pool = connection_pool.ConnectionPool("postgresql://db.invalid/fleet", size=1)
    shared = cluster_run.Shared(own, pool, lambda name, settings: read(), clocks.Still(), metrics.Metrics())
    given: Mapping[str, Any] = {"unsettled_for": 0.0, **fields}
    claim = claims.Claim("acme", claims.Permit(epoch, 0.0, own), "", DUE, **given)
    facade = cluster_facade.ClusterFacade(cast("Any", None), clock=clocks.Still(), request_run=lambda: None)
    return cluster_run.ClusterRun(claim, shared, facade)


def failing(error: Exception) -> Callable[[], account_service.Operator]:
    def read() -> account_service.Operator:
        raise error

    return read


@pytest.mark.parametrize(
    ("error", "gist", "broken"),
    [
        (WRONG, "acme:1:1: wrong", "settings"),
        (AWAY, "connection timed out", "journal"),
        (ZeroDivisionError(), "the run failed because of a defect in fleet-sync", "settings"),
    ],
)
@pytest.mark.parametrize(("failures", "delay"), [(0, 3.0), (2, 12.0)])
async def test_an_account_that_cannot_run_is_released_with_the_reason_and_tried_again_later(
    error: FleetSyncError, gist: str, broken: str, failures: int, delay: float
) -> None:
    held = Claims()
    run = made(held, failing(error), failures=failures, closed_for=4.0)
    await run.run()
    expected = claims.Release(delay, failures + 1, condition="broken", gist=gist, broken=broken, closed_for=4.0)
    assert held.released == [expected]
    assert run.error is not None
    assert run.drain_seconds == 0.0


async def test_an_account_that_never_ran_under_this_claim_may_still_get_requests_of_its_last_owner() -> None:
    held = Claims()
    await made(held, failing(WRONG), unsettled_for=3.0).run()
    assert [each.settled for each in held.released] == [False]


async def test_a_process_that_ends_while_it_waits_for_the_last_owner_sends_nothing_and_leaves_the_account_due() -> None:
    held = Claims()
    run, began = made(held, unsettled_for=300.0, failures=2, closed_for=4.0), anyio.current_time()
    with structlog.testing.capture_logs() as lines:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            while run.drain_seconds == 0.0:  # the settings are read in a thread, for which virtual time does not wait
                await anyio.lowlevel.checkpoint()
            assert run.drain_seconds == 7.0
            run.shutdown.request_stop(Stopped("ended by SIGTERM", exit_code=143))
    assert anyio.current_time() - began < 300
    assert held.released == [claims.Release(0.0, 2, closed_for=4.0, settled=False)]
    assert run.facade.account is None
    taken = [line for line in lines if line["event"] == "account_taken_over"]
    assert [(line["epoch"], line["waits_seconds"]) for line in taken] == [(5, 300.5)]


async def test_a_new_owner_waits_a_little_longer_than_the_permit_of_the_last_one() -> None:
    run, began = made(Claims(), unsettled_for=3.0), anyio.current_time()
    await run._wait_for_predecessor()
    assert anyio.current_time() - began == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("script", "tries", "events"),
    [
        ([], 1, []),
        ([False], 1, ["account_lost"]),
        ([AWAY, AWAY], 3, ["account_not_released"] * 2),
        ([AWAY, False], 2, ["account_not_released", "account_lost"]),
        ([AWAY] * 9, 5, ["account_not_released"] * 5),
    ],
)
async def test_an_account_is_released_once_the_database_answers_within_seconds(
    script: list[JournalError | bool], tries: int, events: list[str]
) -> None:
    held = Claims(*script)
    run = made(held)
    with structlog.testing.capture_logs() as lines:
        await run._release(claims.Release(0.0, 0))
    assert len(held.released) == tries
    assert [line["event"] for line in lines] == events


async def test_a_process_that_ends_tries_to_release_once() -> None:
    held = Claims(AWAY, AWAY)
    run = made(held)
    run.shutdown.request_stop(Stopped("ended by SIGTERM", exit_code=143))
    await run._release(claims.Release(0.0, 0))
    assert len(held.released) == 1


@pytest.mark.parametrize(
    ("epoch", "failures", "trigger"),
    [
        (1, 0, status.Trigger.START),
        (1, 2, status.Trigger.START),
        (2, 0, status.Trigger.INTERVAL),
        (2, 1, status.Trigger.RETRY),
    ],
)
async def test_the_first_run_of_an_account_is_its_start_and_one_after_a_failure_a_retry(
    epoch: int, failures: int, trigger: status.Trigger
) -> None:
    assert made(Claims(), epoch=epoch, failures=failures)._trigger() is trigger


class TestOwnKey:
    """A key belongs to one account."""

    @staticmethod
    def own(held: Claims, *, again: Secret = KEY) -> secrets.Credentials:
        credentials = dataclasses.replace(OPERATOR.credentials, read_key=lambda: again)
        own = cast("claims.Claims", held)
        return cluster_run.own_key(own, made(held)._claim, OPERATOR.settings, credentials)

    def test_it_is_kept_now_and_whenever_it_is_read_again(self) -> None:
        held, fresh = Claims(), Secret("ch_sk_test_fresh")
        found = self.own(held, again=fresh)
        assert (found.key, found.read_key()) == (KEY, fresh)
        url = OPERATOR.settings.charge.base_url
        assert held.keys == [("acme", KEY, url), ("acme", fresh, url)]

    def test_that_of_another_account_is_refused(self) -> None:
        held = Claims(owner="bolt")
        with pytest.raises(SettingsError, match="acme: the account bolt has the same key"):
            self.own(held)
        held.owner = None
        found = self.own(held)
        held.owner = "bolt"
        with pytest.raises(SettingsError, match="acme: the account bolt has the same key"):
            found.read_key()

    def test_one_is_not_used_while_nobody_can_say_whose_it_is(self) -> None:
        held = Claims()
        found = self.own(held)
        held.owner = AWAY
        with pytest.raises(SettingsError, match="acme: connection timed out") as caught:
            found.read_key()
        assert caught.value.remedy == AWAY.remedy
        with pytest.raises(JournalError):
            self.own(held)
