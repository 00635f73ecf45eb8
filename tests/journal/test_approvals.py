"""What every journal remembers of approvals: what one allows, how long, and which run used it up."""

import pytest

from tests.journal import journal_factories
from tests.journal.conftest import Office
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import RunId
from worker.core.model.ports import PastApproval
from worker.core.model.source_history import SourceRecord

pytestmark = pytest.mark.anyio


async def test_a_run_that_uses_an_approval_up_leaves_the_others(office: Office) -> None:
    journal = await office.writer()
    for digest in ("sha256:plan", "sha256:other"):
        await journal.approve(digest, now=journal_factories.NOON, until=journal_factories.minutes(10))
    await journal.begin(
        journal_factories.RUN, trigger="start", guarded=journal_factories.guarded(), intents=[], spent="sha256:plan"
    )
    assert "sha256:plan" not in await journal.approvals(now=journal_factories.NOON)
    assert "sha256:other" in await journal.approvals(now=journal_factories.NOON)


async def test_a_run_keeps_the_approval_that_it_used_up(office: Office) -> None:
    """Also when its digest is approved again: that is another approval."""
    journal = await office.writer()
    by, at = "Ada", journal_factories.NOON
    await journal.approve("sha256:plan", now=at, until=journal_factories.minutes(10), by=by)
    for run, spent in ((journal_factories.APRIL, "sha256:plan"), (journal_factories.MAY, "sha256:own")):
        await journal.begin(run, trigger="once", guarded=journal_factories.guarded(), intents=[], spent=spent)
    await journal.approve(
        "sha256:plan", now=journal_factories.minutes(5), until=journal_factories.minutes(10), by="Bob"
    )
    april, may = await journal.run(journal_factories.APRIL), await journal.run(journal_factories.MAY)
    assert april is not None and april.approval == PastApproval("sha256:plan", by, at)
    assert may is not None and may.approval == PastApproval("sha256:own")
    assert {each.run: each.approval for each in await journal.runs()} == {
        journal_factories.APRIL: april.approval,
        journal_factories.MAY: may.approval,
    }


async def test_what_a_job_approves_itself_has_not_been_approved_by_whoever_did_so_before(office: Office) -> None:
    """Their approval of the same digest is used up, or is over."""
    journal, at = await office.writer(), journal_factories.NOON
    await journal.approve("sha256:plan", now=at, until=journal_factories.minutes(10), by="Ada")
    await journal.approve("sha256:old", now=journal_factories.minutes(-9), until=at, by="Bob")
    june = RunId("run_june")
    for run, spent in (
        (journal_factories.APRIL, "sha256:plan"),
        (journal_factories.MAY, "sha256:plan"),
        (june, "sha256:old"),
    ):
        await journal.remember_sources({}, run=run, spent=spent)
        await journal.begin(run, trigger="once", guarded=journal_factories.guarded(), intents=[], spent=spent)
    assert {each.run: each.approval for each in await journal.runs()} == {
        journal_factories.APRIL: PastApproval("sha256:plan", "Ada", at),
        journal_factories.MAY: PastApproval("sha256:plan"),
        june: PastApproval("sha256:old"),
    }


async def test_a_run_that_cannot_begin_uses_no_approval_up(office: Office) -> None:
    journal = await office.writer()
    await journal.approve("sha256:plan", now=journal_factories.NOON, until=journal_factories.minutes(10))
    await journal_factories.begin(journal, journal_factories.many(1))
    with pytest.raises(JournalError):
        await journal.begin(
            journal_factories.RUN, trigger="start", guarded=journal_factories.guarded(), intents=[], spent="sha256:plan"
        )
    assert "sha256:plan" in await journal.approvals(now=journal_factories.NOON)


async def test_an_approval_that_is_dated_in_the_future_allows_nothing(office: Office) -> None:
    journal = await office.writer()
    await journal.approve("sha256:plan", now=journal_factories.minutes(5), until=journal_factories.minutes(10))
    assert await journal.approvals(now=journal_factories.minutes(4)) == frozenset()
    assert await journal.approvals(now=journal_factories.minutes(5)) == {"sha256:plan"}


async def test_an_approval_holds_for_that_plan_until_its_time(office: Office) -> None:
    journal = await office.writer()
    await journal.approve("sha256:plan", now=journal_factories.NOON, until=journal_factories.minutes(10))
    assert await journal.approvals(now=journal_factories.minutes(9)) == {"sha256:plan"}
    assert await journal.approvals(now=journal_factories.minutes(10)) == frozenset()
    await journal.approve("sha256:plan", now=journal_factories.minutes(5), until=journal_factories.minutes(15))
    assert "sha256:plan" in await journal.approvals(now=journal_factories.minutes(10))


async def test_anybody_approves_while_another_process_writes(office: Office) -> None:
    journal, operator = await office.writer(), office.journal()
    await operator.approve("sha256:plan", now=journal_factories.NOON, until=journal_factories.minutes(10))
    assert "sha256:plan" in await journal.approvals(now=journal_factories.NOON)
    await journal_factories.begin(journal, journal_factories.many(1))
    await operator.approve("sha256:more", now=journal_factories.NOON, until=journal_factories.minutes(10))
    assert "sha256:more" in await journal.approvals(now=journal_factories.NOON)


async def test_an_approval_may_be_the_first_thing_in_a_journal(office: Office) -> None:
    await office.journal().approve("sha256:plan", now=journal_factories.NOON, until=journal_factories.minutes(10))
    assert "sha256:plan" in await (await office.writer()).approvals(now=journal_factories.NOON)


async def test_remembering_a_source_uses_an_approval_up(office: Office) -> None:
    journal = await office.writer()
    for digest in ("sha256:plan", "sha256:other"):
        await journal.approve(digest, now=journal_factories.NOON, until=journal_factories.minutes(10))
    await journal.remember_sources({"hr": SourceRecord(())}, run=journal_factories.APRIL, spent="sha256:plan")
    assert await journal.approvals(now=journal_factories.NOON) == {"sha256:other"}


async def test_a_run_keeps_the_approval_of_a_source_also_if_it_has_no_changes(office: Office) -> None:
    """It is used up before the run has a row. The approval of held changes comes before that of a source."""
    journal, at = await office.writer(), journal_factories.NOON
    for digest in ("sha256:hr", "sha256:list", "sha256:plan"):
        await journal.approve(digest, now=at, until=journal_factories.minutes(10), by="Ada")
    june, july = RunId("run_june"), RunId("run_july")
    for run, spent in ((journal_factories.APRIL, "sha256:hr"), (journal_factories.MAY, "sha256:list"), (june, None)):
        await journal.remember_sources({"hr": SourceRecord(())}, run=run, spent=spent)
    await journal.begin(
        journal_factories.MAY, trigger="once", guarded=journal_factories.guarded(), intents=[], spent="sha256:plan"
    )
    for run in (journal_factories.APRIL, june):
        await journal.finish(journal_factories.ended(run=run, at=at), trigger="once")
    await journal.approve("sha256:job", now=at, until=journal_factories.minutes(10))
    await journal.remember_sources({}, run=july, spent="sha256:job")
    await journal.begin(july, trigger="once", guarded=journal_factories.guarded(), intents=[])
    own, again = RunId("run_own"), RunId("run_again")
    for run, digest in ((own, "sha256:own"), (again, "sha256:hr")):  # approved with the run itself
        await journal.remember_sources({}, run=run, spent=digest)
        await journal.finish(journal_factories.ended(run=run, at=at), trigger="once")
        assert digest not in await journal.approvals(now=at)
    assert {each.run: each.approval for each in await journal.runs()} == {
        own: PastApproval("sha256:own"),
        again: PastApproval("sha256:hr"),
        journal_factories.APRIL: PastApproval("sha256:hr", "Ada", at),
        journal_factories.MAY: PastApproval("sha256:plan", "Ada", at),
        june: None,
        july: PastApproval("sha256:job", "", at),
    }
