"""Applying: the order within a driver, the journal before the wire, and how every kind of answer is settled."""

import itertools
import random
from typing import Any

import anyio
import httpx
import pytest

from tests.engine import applying
from tests.support import doubles, harness, memory_journal
from tests.support import sandbox as support
from tests.support.harness import DEPOT, GHOST, NORTH, VANS, A, B, C, D
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import DriverId, IntentKey
from worker.core.model.outcomes import Applied, Deferred, Refused, Unknown
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent
from worker.core.pacing import retry_policy
from worker.sandbox import faults, http_types, quirks

pytestmark = pytest.mark.anyio

QUICK = retry_policy.RetryPolicy(max_attempts=3, base_seconds=0.5)


# --- In good weather --------------------------------------------------------------------------------------


async def test_every_change_is_made_once() -> None:
    account_harness = harness.Harness(applying.account())
    changes = [applying.attach(D, VANS), applying.detach(A, VANS), applying.attach(B, DEPOT), applying.attach(C, NORTH)]
    found = await applying.apply(account_harness, changes)
    assert [type(outcome) for outcome in found] == [Applied] * 4
    assert all(isinstance(outcome, Applied) and outcome.request_id for outcome in found)
    assert account_harness.state.memberships() == {(D, VANS), (B, VANS), (B, DEPOT), (C, DEPOT), (C, NORTH)}
    assert len(account_harness.writes) == 4
    assert account_harness.watcher.stages == [("Changing memberships", 4), ("Reading drivers", 4)]
    assert account_harness.watcher.steps == 4 + 4


async def test_a_driver_that_moves_is_never_in_no_fleet() -> None:
    """Attaches before detaches, driver by driver, whatever else is under way."""
    drivers = [DriverId(f"drv_{number:032d}") for number in range(40)]
    account_harness = harness.Harness(
        harness.state_of({VANS: drivers, DEPOT: []}), quirks=quirks.Quirks(latency_seconds=0.3)
    )
    await applying.apply(
        account_harness,
        [change for driver in drivers for change in (applying.detach(driver, VANS), applying.attach(driver, DEPOT))],
    )
    inside = dict.fromkeys(drivers, 1)
    for effect in account_harness.state.effects:
        inside[DriverId(effect.driver)] += 1 if effect.action == "attach" else -1
        assert inside[DriverId(effect.driver)] > 0
    assert account_harness.state.memberships() == {(driver, DEPOT) for driver in drivers}


async def test_lanes_run_side_by_side_up_to_the_concurrency() -> None:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(40)]
    held = harness.state_of({VANS: []}, others=drivers)
    account_harness = harness.Harness(held, quirks=quirks.Quirks(latency_seconds=1), concurrency=10, burst=100)
    start = anyio.current_time()
    await applying.apply(account_harness, [applying.attach(driver, VANS) for driver in drivers])
    assert anyio.current_time() - start == pytest.approx(4 + 4, abs=0.2)  # the writes, then reading them back


async def test_no_two_writes_share_a_key_and_each_is_in_the_journal_before_it_is_sent() -> None:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(20)]
    missing: list[str] = []
    weather = random.Random(1)

    def script(request: http_types.Request) -> str | None:
        rainy = request.route in http_types.WRITES and weather.random() < 0.45
        return weather.choice(["500", "reset_after", "503"]) if rainy else None

    account_harness = harness.Harness(
        harness.state_of({VANS: drivers, DEPOT: []}),
        new_transport=lambda: doubles.IntentCheckingTransport(
            support.transport(account_harness.sandbox), account_harness.memory, missing
        ),
        faults=faults.Faults(script=script),
    )
    for driver in drivers:
        await applying.apply(account_harness, [applying.detach(driver, VANS), applying.attach(driver, DEPOT)])
    assert missing == []
    keys = {(request.path, request.key) for request in account_harness.sandbox.requests if request.method == "POST"}
    assert len(keys) == len({key for _, key in keys}) == 40
    assert len(account_harness.writes) > 60


async def test_nothing_is_sent_once_the_journal_is_no_longer_ours() -> None:
    """Another process may be the one writer by now."""
    asked = itertools.count(1)

    class Lost(memory_journal.MemoryJournal):
        async def check(self) -> None:
            if next(asked) > 2:
                raise JournalError("this process may not write to the journal any more", code="journal_lost")

    account_harness = harness.Harness(applying.account(), journal=Lost(), concurrency=1)
    found = await applying.apply(
        account_harness,
        [applying.attach(A, NORTH), applying.attach(B, NORTH), applying.attach(C, NORTH), applying.attach(D, NORTH)],
    )
    assert applying.names(found) == ["applied", "applied", "deferred", "deferred"]
    assert len(account_harness.writes) == 2
    assert isinstance(found[2], Deferred) and found[2].code == "journal_lost"


# --- The order within a driver ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["refused", "not_found", "503", "500", "reset_before", "html_200", "rate_limited"])
async def test_where_an_attach_does_not_succeed_the_drivers_detaches_wait(name: str) -> None:
    def script(request: http_types.Request) -> str | None:
        return name if request.route == "attach" and request.subject == A else None

    account_harness = harness.Harness(applying.account(), faults=faults.Faults(script=script), policy=QUICK)
    found = await applying.apply(
        account_harness,
        [applying.detach(A, VANS), applying.attach(A, DEPOT), applying.detach(B, VANS), applying.attach(B, NORTH)],
    )
    waits = found[0]
    assert isinstance(waits, Deferred)
    assert (waits.attempts, waits.code) == (0, "attach_first")
    assert applying.names(found)[1] in ("refused", "deferred", "unknown")
    assert applying.names(found)[2:] == ["applied", "applied"]
    assert account_harness.state.memberships() == {(A, VANS), (B, NORTH), (C, DEPOT)}


async def test_one_failed_attach_does_not_keep_the_driver_from_the_next() -> None:
    held = applying.account()
    held.change_fleet(DEPOT, status="archived")
    account_harness = harness.Harness(held)
    found = await applying.apply(
        account_harness, [applying.attach(A, DEPOT), applying.attach(A, NORTH), applying.detach(A, VANS)]
    )
    assert sorted(applying.names(found)) == ["applied", "deferred", "refused"]
    assert set(held.fleets_of(A)) == {VANS, NORTH}


async def test_an_attach_of_unknown_outcome_keeps_the_detach_waiting() -> None:
    def script(request: http_types.Request) -> str | None:
        return "reset_after" if request.subject == A else None

    account_harness = harness.Harness(applying.account(), faults=faults.Faults(script=script), policy=QUICK)
    assert applying.names(
        await applying.apply(account_harness, [applying.attach(A, DEPOT), applying.detach(A, VANS)])
    ) == [
        "unknown",
        "deferred",
    ]
    assert set(account_harness.state.fleets_of(A)) == {VANS, DEPOT}


# --- Conflicts --------------------------------------------------------------------------------------------

CONFLICTS = quirks.Quirks(already_attached="conflict", not_attached="conflict", suspended_driver="conflict")


@pytest.mark.parametrize(("change", "already"), [(applying.attach(A, VANS), True), (applying.detach(D, VANS), True)])
@pytest.mark.parametrize("conduct", [CONFLICTS, quirks.PLAUSIBLE], ids=["409", "200"])
async def test_what_somebody_else_did_already_is_done(change: Change, already: bool, conduct: quirks.Quirks) -> None:
    account_harness = harness.Harness(applying.account(), quirks=conduct)
    (outcome,) = await applying.apply(account_harness, [change])
    assert outcome.name == ("already" if conduct is CONFLICTS else "applied")
    assert account_harness.state.memberships() == applying.account().memberships()


async def test_a_conflict_that_is_none_of_that_is_refused() -> None:
    held = applying.account()
    held.change_driver(D, status="suspended")
    account_harness = harness.Harness(held, quirks=CONFLICTS)
    (outcome,) = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.attempts) == ("driver_fleet_conflict", 1)
    assert outcome.request_id is not None


async def test_a_conflict_that_cannot_be_settled_is_unknown() -> None:
    def script(request: http_types.Request) -> str | None:
        return "503" if request.route == "driver" else None

    account_harness = harness.Harness(
        applying.account(), quirks=CONFLICTS, faults=faults.Faults(script=script), policy=QUICK
    )
    (outcome,) = await applying.apply(account_harness, [applying.attach(A, VANS)])
    assert isinstance(outcome, Unknown)
    assert "could not be read" in outcome.message


@pytest.mark.parametrize("name", ["refused", "not_found"])
async def test_a_driver_that_is_refused_harms_nobody_else(name: str) -> None:
    account_harness = harness.Harness(applying.account())
    account_harness.sandbox.faults = faults.Faults(script=lambda request: name if request.subject == A else None)
    found = await applying.apply(
        account_harness,
        [
            applying.attach(A, DEPOT),
            applying.attach(B, DEPOT),
            applying.attach(GHOST, DEPOT),
            applying.attach(D, DEPOT),
        ],
    )
    assert applying.names(found) == ["refused", "applied", "refused", "applied"]
    assert len([line for line in account_harness.writes if A in line]) == 1


async def test_a_key_that_may_not_write_is_refused_without_retries() -> None:
    account_harness = harness.Harness(applying.account(), quirks=quirks.Quirks(read_only=True))
    found = await applying.apply(account_harness, [applying.attach(A, DEPOT), applying.attach(D, DEPOT)])
    assert applying.names(found) == ["refused", "refused"]
    assert len(account_harness.writes) == 2


# --- Lost and lying answers -------------------------------------------------------------------------------

LOST = ["500_after", "gateway_timeout", "reset_after", "truncated", "wrong_types", "hang_after"]
NOT_MADE = ["500", "503", "html", "html_200", "reset_before", "hang"]


@pytest.mark.parametrize("conduct", ["replay", "rerun", "outcome"])
@pytest.mark.parametrize("name", [*LOST, *NOT_MADE])
async def test_one_bad_answer_is_outlived_by_a_retry_under_the_same_key(name: str, conduct: Any) -> None:
    account_harness = harness.Harness(applying.account(), quirks=quirks.Quirks(stored_5xx=conduct), timeout=1)
    account_harness.sandbox.faults = faults.Faults(script=[name])
    assert applying.names(await applying.apply(account_harness, [applying.attach(D, VANS)])) == [
        "unknown" if _stuck(name, conduct) else "applied"
    ]
    assert len({request.key for request in account_harness.sandbox.requests if request.key}) == 1
    assert sum(effect.changed for effect in account_harness.state.effects) == (not _stuck(name, conduct))


def _stuck(name: str, conduct: str) -> bool:
    """Return whether the key itself is lost: the server keeps repeating a 500 that came before the effect."""
    return name == "500" and conduct == "replay"


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("name", LOST)
async def test_a_lost_reply_is_settled_by_reading_and_takes_effect_once(name: str, action: Action) -> None:
    account_harness = harness.Harness(applying.account(), faults=applying.writes(name), policy=QUICK, timeout=1)
    change = Change(action, D if action is Action.ATTACH else A, VANS)
    (outcome,) = await applying.apply(account_harness, [change])
    assert isinstance(outcome, Applied)
    assert (outcome.attempts, outcome.message) == (QUICK.max_attempts, "confirmed by reading the driver")
    assert [effect.changed for effect in account_harness.state.effects if effect.changed] == [True]
    assert ((D, VANS) in account_harness.state.memberships()) is (action is Action.ATTACH)


@pytest.mark.parametrize("name", NOT_MADE)
async def test_a_write_without_a_clear_answer_that_no_reading_shows_may_still_take_effect(name: str) -> None:
    account_harness = harness.Harness(applying.account(), faults=applying.writes(name), policy=QUICK, timeout=1)
    (outcome,) = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert isinstance(outcome, Unknown)
    assert outcome.attempts == QUICK.max_attempts
    assert len(account_harness.requests("GET ")) == 1 + 1 + 4  # at once, when reading back, and after 1, 2, 4 and 8 s
    assert account_harness.state.effects == []


@pytest.mark.parametrize("name", LOST + NOT_MADE)
async def test_a_write_that_cannot_be_settled_is_unknown(name: str) -> None:
    account_harness = harness.Harness(applying.account(), faults=faults.Faults({name: 1.0}), policy=QUICK, timeout=1)
    (outcome,) = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert isinstance(outcome, Unknown)
    assert outcome.message


async def test_an_unclear_answer_before_a_refusal_is_settled_by_reading() -> None:
    """The first attempt took effect, and the retry is refused for that very reason."""
    account_harness = harness.Harness(applying.account(), quirks=CONFLICTS)
    account_harness.sandbox.faults = faults.Faults(script=["500_after"])
    (outcome,) = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert isinstance(outcome, Applied)
    assert outcome.attempts == 2


async def test_a_replayed_answer_is_not_believed_and_keeps_the_detach_waiting() -> None:
    """The first attempt was made, and somebody took it back before the retry: its answer tells how things once were."""
    account_harness = harness.Harness(applying.account())
    attempts = itertools.count()

    def script(request: http_types.Request) -> str | None:
        if request.route != "attach":
            return None
        if next(attempts) == 0:
            return "reset_after"
        account_harness.state.detach(A, DEPOT)
        return None

    account_harness.sandbox.faults = faults.Faults(script=script)
    made, waits = await applying.apply(account_harness, [applying.attach(A, DEPOT), applying.detach(A, VANS)])
    assert isinstance(made, Unknown) and made.code == "not_converging"
    assert isinstance(waits, Deferred) and waits.code == "attach_first"
    assert set(account_harness.state.fleets_of(A)) == {VANS}


async def test_a_write_that_charge_is_still_busy_with_is_unknown_although_a_reading_shows_nothing_of_it() -> None:
    class Busy(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                shown = {"object": "error", "code": "idempotency_key_in_use", "message": "try later"}
                return httpx.Response(409, json=shown)
            return await support.transport(account_harness.sandbox).handle_async_request(request)

    account_harness = harness.Harness(applying.account(), policy=QUICK, new_transport=Busy)
    (outcome,) = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert isinstance(outcome, Unknown)
    assert (outcome.attempts, outcome.code) == (QUICK.max_attempts, "idempotency_key_in_use")
    assert await account_harness.journal.open()


async def test_a_write_that_never_left_is_deferred_and_nothing_is_read() -> None:
    class Unplugged(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused", request=request)

    account_harness = harness.Harness(applying.account(), policy=QUICK, new_transport=Unplugged)
    (outcome,) = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert isinstance(outcome, Deferred)
    assert (outcome.attempts, outcome.code) == (0, "connection_failed")


@pytest.mark.parametrize(("forward", "name"), [(True, "applied"), (False, "unknown")])
async def test_a_reply_that_shows_the_wrong_state_is_settled_by_reading(forward: bool, name: str) -> None:
    account_harness = harness.Harness(
        applying.account(), new_transport=lambda: applying.lying(lambda: account_harness, forward=forward, fleets=[])
    )
    (outcome,) = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert outcome.name == name
    assert set(account_harness.requests("GET ")) == {f"GET /drivers/{D}"}
    if isinstance(outcome, Unknown):
        assert outcome.code == "not_converging"


async def test_a_driver_that_vanished_before_it_could_be_settled_is_refused() -> None:
    held = applying.account()

    def script(request: http_types.Request) -> str | None:
        if request.route == "driver" and D in held.drivers:
            held.remove_driver(D)
        return "503" if request.route == "attach" else None

    account_harness = harness.Harness(held, faults=faults.Faults(script=script), policy=QUICK)
    (outcome,) = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert isinstance(outcome, Refused)
    assert outcome.code == "driver_not_found"


async def test_nothing_to_apply_is_nothing_done() -> None:
    account_harness = harness.Harness(applying.account())
    assert await applying.apply(account_harness, []) == []
    assert account_harness.sandbox.requests == []


async def test_every_outcome_is_logged_without_the_key(log: list[dict[str, Any]]) -> None:
    account_harness = harness.Harness(applying.account())
    await applying.apply(
        account_harness, [applying.attach(A, DEPOT), applying.attach(GHOST, DEPOT), applying.detach(B, VANS)]
    )
    lines = {(line["event"], line["driver"], line["outcome"], line["log_level"]) for line in log if "driver" in line}
    assert lines == {
        ("membership_attach", A, "applied", "info"),
        ("membership_attach", GHOST, "refused", "warning"),
        ("membership_detach", B, "applied", "info"),
    }


def test_intents_are_values() -> None:
    assert Intent(IntentKey("k"), applying.attach(A, VANS)) == Intent(IntentKey("k"), applying.attach(A, VANS))
