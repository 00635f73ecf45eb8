"""What journals keep of pauses."""

import dataclasses
import datetime

import pytest

from tests.journal import journal_factories
from tests.journal.conftest import Office
from worker.core.model.identifiers import FleetId
from worker.core.model.pauses import Pause

pytestmark = pytest.mark.anyio

NOON, LATER = journal_factories.NOON, journal_factories.minutes(10)
EVERYWHERE = Pause(NOON, by="Emma", reason="migration")
VANS = Pause(NOON, LATER, fleet=FleetId("flt_vans"))


async def test_a_pause_is_in_force_for_every_process_until_it_ends(office: Office) -> None:
    service, command = await office.writer(), office.journal()
    assert await service.pauses(now=NOON) == ()
    await command.pause(EVERYWHERE)
    await command.pause(VANS)
    assert await service.pauses(now=NOON) == (EVERYWHERE, VANS)
    assert await service.pauses(now=LATER) == (EVERYWHERE,)
    assert await command.resume(now=NOON, by="Liam") == (EVERYWHERE, VANS)
    assert await service.pauses(now=NOON) == ()
    assert await command.resume(now=NOON, by="Liam") == ()


async def test_who_and_why_contain_no_key(office: Office) -> None:
    """Pasted by mistake, it would stay in the journal for as long as that is kept."""
    key = f"ch_sk_live_{'x' * 24}"
    journal = await office.writer()
    await journal.pause(dataclasses.replace(EVERYWHERE, by=f"Emma {key}", reason=key))
    shown = dataclasses.replace(EVERYWHERE, by="Emma ch_sk_…", reason="ch_sk_…")
    assert await journal.pauses(now=NOON) == (shown,)
    await journal.approve("sha256:plan", now=NOON, until=LATER, by=key)
    await journal.begin(
        journal_factories.RUN, trigger="once", guarded=journal_factories.guarded(), intents=[], spent="sha256:plan"
    )
    ended = await journal.run(journal_factories.RUN)
    assert ended is not None and ended.approval is not None and ended.approval.by == "ch_sk_…"


async def test_a_pause_replaces_the_one_of_the_same_scope(office: Office) -> None:
    journal = await office.writer()
    longer = dataclasses.replace(VANS, until=LATER + datetime.timedelta(hours=1), by="Liam")
    for each in (VANS, EVERYWHERE, longer):
        await journal.pause(each)
    assert await journal.pauses(now=NOON) == (EVERYWHERE, longer)
    assert await journal.resume(now=NOON, by="", fleet=FleetId("flt_vans")) == (longer,)
    assert await journal.pauses(now=NOON) == (EVERYWHERE,)


async def test_before_there_is_a_journal_nothing_is_paused(office: Office) -> None:
    assert await office.journal().pauses(now=NOON) == ()
