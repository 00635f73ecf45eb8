"""Claims and permits: who has an account, for how long it may send, and what moves with the account."""

import dataclasses
from collections.abc import Iterator
from concurrent import futures

import pytest

from tests.journal import backends, cluster
from worker.core.model.errors import JournalError
from worker.core.model.secret import Secret
from worker.journal import claims, cluster_queries, connection

RELEASE = claims.Release(delay=0.0, failures=0, condition="in_sync", gist="In sync")

DIGESTS = "SELECT key_digest FROM cluster_accounts WHERE name = :name"
WAITING = "SELECT pid FROM pg_locks WHERE NOT granted"


@pytest.fixture
def shared(postgresql_backend: backends.PostgresBackend) -> Iterator[cluster.Cluster]:
    """Return a database with one account."""
    found = cluster.Cluster(postgresql_backend)
    yield found
    found.close()


def test_a_living_process_keeps_its_account(shared: cluster.Cluster) -> None:
    first, second = shared.process("a"), shared.process("b")
    first.claimed()
    assert second.claims.claim("acme") is None
    assert second.claims.claim("unknown") is None


def test_a_released_account_is_anybodys_and_the_epoch_counts_claims(shared: cluster.Cluster) -> None:
    first, second = shared.process("a"), shared.process("b")
    claim = first.claimed()
    assert (claim.permit.epoch, claim.unsettled_for) == (1, 0)
    assert first.claims.release(claim, RELEASE)
    taken = second.claimed()
    assert (taken.permit.epoch, taken.unsettled_for) == (2, 0)
    assert not first.claims.release(claim, RELEASE)
    assert first.claims.claim("acme") is None


def test_a_dead_process_may_send_for_as_long_as_its_own_permits_last(shared: cluster.Cluster) -> None:
    """Story: a successor with shorter permits, after a change of settings, waited for the length of its own."""
    first, second = shared.process("a"), shared.process("b", seconds=1.0)
    first.claimed()
    shared.bury(first)
    assert second.claimed().unsettled_for == cluster.SECONDS


@pytest.mark.parametrize("settled", [False, True])
def test_an_account_is_unsettled_until_somebody_has_waited(shared: cluster.Cluster, settled: bool) -> None:
    """Story: a process that ended while it waited released the account as if nobody could send any more."""
    first, second, third = shared.process("a"), shared.process("b", seconds=1.0), shared.process("c")
    first.claimed()
    shared.bury(first)
    second.claims.release(second.claimed(), dataclasses.replace(RELEASE, settled=settled))
    assert third.claimed().unsettled_for == (0 if settled else cluster.SECONDS)


def test_a_process_that_died_while_it_waited_hides_no_longer_permit(shared: cluster.Cluster) -> None:
    first, second, third = shared.process("a"), shared.process("b", seconds=1.0), shared.process("c", seconds=1.0)
    first.claimed()
    shared.bury(first)
    second.claimed()
    shared.bury(second)
    assert third.claimed().unsettled_for == cluster.SECONDS


def test_a_permit_ends_by_the_own_clock_counted_from_before_the_question(shared: cluster.Cluster) -> None:
    first = shared.process("a")
    claim = first.claimed()
    permit, session = claim.permit, first.session(claim)
    first.uptime.seconds += cluster.SECONDS - 0.1
    assert permit.is_valid() and session.is_recent_writer()
    first.claims.heartbeat()
    first.uptime.seconds += cluster.SECONDS - 0.1
    assert permit.is_valid()
    first.uptime.seconds += 0.1
    assert not permit.is_valid() and not session.is_recent_writer()
    session.check()  # asks, and the account is still its own
    assert permit.is_valid()


def test_the_answer_that_arrives_late_gives_a_permit_that_ends_early(shared: cluster.Cluster) -> None:
    """The clock goes on while the database is asked: what was true then need not be true now."""
    first = shared.process("a")
    claim = first.claimed()
    moments = iter([first.uptime.seconds + seconds for seconds in (1.0, 2.0, 60.0)])

    class Passing(cluster.Uptime):
        def __call__(self) -> float:
            self.seconds = next(moments, 1060.0)
            return self.seconds

    first.claims.uptime = Passing()
    first.claims.heartbeat()
    assert claim.permit.until == 1002.0 + cluster.SECONDS
    assert not claim.permit.is_valid()


def test_no_permit_after_another_process_has_claimed_the_account(shared: cluster.Cluster) -> None:
    first, second = shared.process("a"), shared.process("b")
    claim = first.claimed()
    shared.bury(first)
    second.claimed()
    before = claim.permit.until
    first.claims.heartbeat()
    assert claim.permit.until == before
    first.uptime.seconds += cluster.SECONDS
    with pytest.raises(JournalError) as caught:
        first.session(claim).check()
    assert caught.value.code == "journal_lost"


def test_no_permit_for_another_epoch(shared: cluster.Cluster) -> None:
    first = shared.process("a")
    claim = first.claimed()
    shared.tell("UPDATE cluster_accounts SET epoch = epoch + 1")
    before = claim.permit.until
    first.uptime.seconds += 1
    first.claims.heartbeat()
    assert claim.permit.until == before


def test_a_process_learns_that_the_others_gave_it_up(shared: cluster.Cluster) -> None:
    first = shared.process("a")
    assert first.claims.heartbeat()
    first.claimed()
    assert first.claims.heartbeat()
    shared.bury(first)
    assert not first.claims.heartbeat()
    first.claims.register("1.0")
    assert first.claims.heartbeat()


def test_nothing_is_sent_after_the_release(shared: cluster.Cluster) -> None:
    first = shared.process("a")
    claim = first.claimed()
    first.claims.release(claim, RELEASE)
    first.claims.heartbeat()
    assert not claim.permit.is_valid()


def test_what_a_run_learned_moves_with_the_account(shared: cluster.Cluster) -> None:
    first, second = shared.process("a"), shared.process("b")
    left = claims.Release(delay=0.0, failures=3, condition="broken", gist="No", broken="charge", closed_for=60.0)
    first.claims.release(first.claimed(), left)
    taken = second.claimed()
    assert taken.failures == 3
    assert 50 < taken.closed_for <= 60
    (row,) = second.claims.statuses()
    assert (row["condition"], row["gist"], row["broken"], row["last_success"]) == ("broken", "No", "charge", None)


def test_an_account_is_claimed_only_when_a_run_is_due_or_wanted(shared: cluster.Cluster) -> None:
    first = shared.process("a")
    first.claims.release(first.claimed(), dataclasses.replace(RELEASE, delay=60.0, succeeded=True))
    assert first.claims.claim("acme") is None
    first.claims.request_run("acme")
    claim = first.claimed()
    first.claims.request_run("acme")  # during the run
    first.claims.release(claim, dataclasses.replace(RELEASE, delay=60.0))
    first.claimed()
    (row,) = first.claims.statuses()
    assert row["last_success"] is not None


def test_two_accounts_with_one_key_are_recognised_and_no_key_is_stored(shared: cluster.Cluster) -> None:
    shared.add("other")
    first, second = shared.process("a"), shared.process("b")
    key, url = Secret("ch_live_0123456789abcdef"), "https://charge.test/v1"
    acme, other = first.claimed(), second.claimed("other")
    assert first.claims.keep_key(acme, key, base_url=url) is None
    assert second.claims.keep_key(other, key, base_url=url) == "acme"
    assert second.claims.keep_key(other, key, base_url="https://elsewhere.test/v1") is None
    assert first.claims.keep_key(acme, key, base_url=url) is None
    shown = str(first.pool.transaction(lambda database: database.query("SELECT * FROM cluster_accounts")))
    assert "0123456789abcdef" not in shown


def test_of_two_accounts_that_begin_with_one_key_at_once_the_later_one_is_told(shared: cluster.Cluster) -> None:
    """The second one has seen no owner, and waits until the first has noted its key."""
    shared.add("other")
    first, second = shared.process("a"), shared.process("b")
    key, url = Secret("ch_live_0123456789abcdef"), "https://charge.test/v1"
    first.claimed()
    other = second.claimed("other")
    assert second.claims.keep_key(other, key, base_url=url) is None
    [row] = first.pool.transaction(lambda database: database.query(DIGESTS, {"name": "other"}))
    shared.tell("UPDATE cluster_accounts SET key_digest = NULL")
    with futures.ThreadPoolExecutor(1) as threads:

        def work(database: connection.Connection) -> "futures.Future[str | None]":
            database.query(cluster_queries.ONE_KEY_AT_A_TIME)
            kept = threads.submit(second.claims.keep_key, other, key, base_url=url)
            while not database.query(WAITING):
                assert not kept.done()
            database.execute(cluster_queries.KEEP_KEY, {"digest": row["key_digest"], "name": "acme", "epoch": 1})
            return kept

        assert first.pool.transaction(work).result() == "acme"


def test_a_process_is_known_until_it_has_ended(shared: cluster.Cluster) -> None:
    first, second = shared.process("a"), shared.process("b")
    first.claimed()
    first.claims.unregister()
    assert second.claimed().unsettled_for
