"""The fence: one process writes for an account of a cluster, however long another one was stopped."""

import functools
from collections.abc import Iterator

import pytest

from tests.journal import backends, cluster, journal_factories
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import RunId
from worker.journal import connection

pytestmark = pytest.mark.anyio


@pytest.fixture
def shared(postgresql_backend: backends.PostgresBackend) -> Iterator[cluster.Cluster]:
    """Return a database with one account."""
    found = cluster.Cluster(postgresql_backend)
    yield found
    found.close()


@pytest.fixture(params=["0 s", "1 hour", "-1 hour"], ids=["clock right", "clock ahead", "clock behind"])
def moved(request: pytest.FixtureRequest) -> str:
    """Return by how much the server's clock is set while the account is claimed."""
    found: str = request.param
    return found


def _taken_over(shared: cluster.Cluster, first: cluster.Process) -> cluster.Process:
    shared.bury(first)
    second = shared.process("b")
    second.claimed()
    return second


async def test_each_run_is_recorded_with_the_epoch_of_its_claim(shared: cluster.Cluster) -> None:
    first = shared.process("a")
    claim = first.claimed()
    journal = first.journal(claim)
    assert await journal.open() == ()
    changes = journal_factories.many(2)
    await journal_factories.whole(journal, changes, run="run_1", at=journal_factories.NOON)
    await journal_factories.whole(journal, run="run_2", at=journal_factories.minutes(5))
    assert [past.run for past in await journal.runs()] == ["run_2", "run_1"]
    rows = first.pool.transaction(lambda database: database.query("SELECT run, epoch FROM runs ORDER BY number"))
    assert [(row["run"], row["epoch"]) for row in rows] == [("run_1", 1), ("run_2", 1)]


async def test_a_predecessor_writes_nothing_after_the_claim(shared: cluster.Cluster) -> None:
    first = shared.process("a")
    before = first.journal(first.claimed())
    changes = journal_factories.many(1)
    await journal_factories.begin(before, changes)
    second = _taken_over(shared, first)
    for late in (
        before.record([(journal_factories.key(), journal_factories.DONE)]),
        before.add_intents(journal_factories.RUN, journal_factories.intents(changes, run=RunId("run_9"))),
        before.finish(journal_factories.ended(changes), trigger="start"),
        before.open(),
    ):
        with pytest.raises(JournalError) as caught:
            await late
        assert caught.value.code == "journal_lost"
    rows = second.pool.transaction(lambda database: database.query("SELECT outcome FROM intents"))
    assert [row["outcome"] for row in rows] == [None]


def test_a_process_stopped_in_its_commit_is_cut_off_and_writes_nothing(shared: cluster.Cluster, moved: str) -> None:
    """The server gives the session up: the claim gets the account within seconds, whatever the clocks say."""
    first, second = shared.process("a"), shared.process("b")
    claim = first.claimed()
    first.session(claim).open()
    shared.set_clock(moved)
    with first.stopped_in_commit(claim) as commit:
        shared.bury(first)
        taken = second.claimed()  # waits for the lock, and fails unless it gets it in 4 s
        assert (taken.permit.epoch, taken.unsettled_for) == (2, cluster.SECONDS)
        first.uptime.seconds += cluster.SECONDS
    with pytest.raises(JournalError) as caught:
        commit.result()
    assert caught.value.code == "journal_lost"
    with pytest.raises(JournalError) as caught:
        first.session(claim).check()
    assert caught.value.code == "journal_lost"
    rows = second.pool.transaction(lambda database: database.query("SELECT mode FROM accounts"))
    assert [row["mode"] for row in rows] == [None]


def test_a_large_plan_has_the_time_that_it_takes_to_compute(shared: cluster.Cluster) -> None:
    session = shared.process("a")
    claimed = session.claimed()

    def allowed(database: connection.Connection, rows: int) -> int:
        database.allow_computing(rows)
        shown = database.query("SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'")
        return int(shown[0]["setting"])

    few, many = (
        session.session(claimed).write(functools.partial(allowed, rows=rows))  # milliseconds
        for rows in (1000, 200_000)
    )
    assert few < 3000 and many > 60_000


def test_an_idle_session_that_the_server_ended_is_replaced(shared: cluster.Cluster) -> None:
    first = shared.process("a")
    session = first.session(first.claimed())
    session.open()
    shared.backend.crash(shared.backend.journal())
    session.open()
    assert session.read(lambda database: database.account) == 1


def test_a_session_that_could_not_begin_a_transaction_is_replaced(shared: cluster.Cluster) -> None:
    """Story: a canceled statement at the beginning left a failed transaction open, and the session failed forever."""
    first = shared.process("a")
    session = first.session(first.claimed())
    session.open()
    body = "BEGIN RAISE EXCEPTION 'canceled'; END"
    shared.tell(f"CREATE FUNCTION current_setting(text) RETURNS text LANGUAGE plpgsql AS $$ {body} $$")
    with pytest.raises(JournalError, match="canceled"):
        session.open()
    shared.tell(f"DROP FUNCTION {shared.backend.schema}.current_setting(text)")
    session.open()


def test_an_account_without_records_has_nothing_to_read(shared: cluster.Cluster) -> None:
    first = shared.process("a")
    session = first.session(first.claimed())
    assert session.read(lambda database: 1) is None
    assert session.write_unlocked(lambda database: database.account) == 1
    assert session.purge()


def test_a_write_may_go_out_for_as_long_as_the_permit_lasts(shared: cluster.Cluster) -> None:
    process = shared.process("a")
    journal = process.journal(process.claimed())
    process.uptime.seconds += cluster.SECONDS - 0.1
    assert journal.may_send()
    process.uptime.seconds += 0.2
    assert not journal.may_send()


@pytest.mark.parametrize("how", ["write", "write_unlocked"])
def test_an_account_whose_first_record_failed_writes_to_no_other_account(shared: cluster.Cluster, how: str) -> None:
    """Story: it kept the number that the failed commit had given it, which was another account's by then."""
    shared.add("bolt")
    process = shared.process("a")
    acme, bolt = (process.session(process.claimed(name)) for name in ("acme", "bolt"))

    def fails(database: connection.Connection) -> int:
        raise JournalError("the disk is full")

    with pytest.raises(JournalError, match="full"):
        getattr(acme, how)(fails)
    assert [getattr(each, how)(lambda database: database.account) for each in (bolt, acme)] == [1, 2]


def test_connections_are_used_again_unless_they_broke(shared: cluster.Cluster) -> None:
    """A pool that opens one for each transaction, or leaves broken ones open, uses up what the server allows."""
    pool = shared.process("a").pool
    opened: list[connection.Connection] = []

    def session_of(database: connection.Connection) -> int:
        opened.append(database)
        return int(database.query("SELECT pg_backend_pid() AS pid")[0]["pid"])

    first = pool.transaction(session_of)
    assert pool.transaction(session_of) == first

    def break_off(database: connection.Connection) -> None:
        opened.append(database)
        database.close()
        raise JournalError("the server ended the session")

    with pytest.raises(JournalError):
        pool.transaction(break_off)
    assert pool.transaction(session_of) != first
    assert [database.broken for database in dict.fromkeys(opened)] == [True, False]
