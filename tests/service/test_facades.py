"""What a page has of an account: it waits for changes, and what is requested there takes effect."""

import dataclasses
import pathlib
from collections.abc import AsyncIterator
from typing import cast

import anyio
import pytest

from tests.support import clocks, memory_journal
from worker.core.model import ports
from worker.core.model.pauses import Pause
from worker.core.model.secret import Secret
from worker.service import account_service, cluster_facade, state
from worker.settings import model, secrets
from worker.web import metrics

pytestmark = pytest.mark.anyio

KEY = Secret("ch_sk_test_x")


@dataclasses.dataclass
class Shown:
    """An account's facade, and the state behind it."""

    facade: account_service.ServiceFacade | cluster_facade.ClusterFacade
    state: state.ServiceState


@pytest.fixture(params=["account of a process", "account of a cluster"])
async def shown(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> AsyncIterator[Shown]:
    if request.param == "account of a cluster":
        record = memory_journal.MemoryJournal(clock=clocks.Still())
        of_cluster = cluster_facade.ClusterFacade(record, clock=clocks.Still(), request_run=lambda: None)
        yield Shown(of_cluster, of_cluster.state)
        return
    settings = model.Settings.model_validate(
        {"sources": [{"path": "m.yaml"}], "journal": {"url": f"sqlite:///{tmp_path / 'journal.db'}"}}
    )
    operator = account_service.Operator(settings, secrets.Credentials(KEY, lambda: KEY))
    service = account_service.AccountService(
        operator, read_operator=lambda: operator, clock=clocks.Still(), gauges=metrics.Metrics()
    )
    yield Shown(service.facade, service.state)
    await service.aclose()


async def test_a_page_waits_until_something_changes(shown: Shown) -> None:
    with anyio.move_on_after(60) as waiting:
        await shown.facade.changed()
    assert waiting.cancelled_caught
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shown.facade.changed)
        await anyio.wait_all_tasks_blocked()
        shown.state.stand_by("another process")


@pytest.mark.integration
async def test_what_is_requested_on_a_page_is_in_the_journal(shown: Shown) -> None:
    facade, digest = shown.facade, "sha256:" + "0" * 64
    pause = Pause(clocks.NOON, by="Ann", reason="the migration")
    await facade.pause(pause)
    await facade.approve(digest, by="Ann")
    assert await facade.record.pauses(now=clocks.NOON) == (pause,)
    assert await cast(ports.Journal, facade.record).approvals(now=clocks.NOON) == {digest}
    assert await facade.resume(by="Bob", fleet=None) == (pause,)
    assert await facade.record.pauses(now=clocks.NOON) == ()
