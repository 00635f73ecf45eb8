"""Applying: the order within a driver, the journal before the wire, and how every kind of answer is settled."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import httpx
import pytest

from tests.support import doubles
from tests.support import rig as rigs
from tests.support import sandbox as support
from worker.core import errors, outcomes, ports, retry, values
from worker.journal import memory
from worker.sandbox import behaviour, faults, messages, roster

pytestmark = pytest.mark.anyio

A, B, C, D = (rigs.driver_id(letter) for letter in "ABCD")
GHOST = rigs.driver_id("Z")
VANS, DEPOT, NORTH = (rigs.fleet_id(letter) for letter in "VWN")
RUN = values.RunId("run_1")
QUICK = retry.Policy(max_attempts=3, base_seconds=0.5)

Script = Callable[[messages.Request], str | None]


def _attach(driver: values.DriverId, fleet: values.FleetId) -> values.Change:
    return values.Change(values.Action.ATTACH, driver, fleet)


def _detach(driver: values.DriverId, fleet: values.FleetId) -> values.Change:
    return values.Change(values.Action.DETACH, driver, fleet)


def _account() -> roster.Roster:
    return rigs.roster_of({VANS: [A, B], DEPOT: [C], NORTH: []}, others=[D])


async def _apply(rig: rigs.Rig, changes: Iterable[values.Change]) -> list[outcomes.Outcome]:
    """Apply in a new run, as a cycle does; give the outcomes in the order of the changes."""
    changes = list(changes)
    applier = rig.applier(rig.sender())
    intents = applier.intend(changes)
    run = values.RunId(f"{RUN}_{intents[0].key}" if intents else RUN)
    await rig.journal.begin(run, trigger="test", judged=doubles.judged(changes), intents=intents)
    results = await applier.apply(intents)
    assert [result.change for result in results] == changes
    recorded = [rig.memory.outcomes.get(intent.key) for intent in intents]
    known = [None if isinstance(result.outcome, outcomes.Unknown) else result.outcome for result in results]
    assert rig.journal is not rig.memory or recorded == known
    return [result.outcome for result in results]


def _names(found: Iterable[outcomes.Outcome]) -> list[str]:
    return [outcome.name for outcome in found]


def _writes(name: str) -> faults.Faults:
    """Let this happen to every write, and to nothing else."""
    return faults.Faults(script=lambda request: name if request.route in messages.WRITES else None)


# --- In good weather --------------------------------------------------------------------------------------


async def test_every_change_is_made_once() -> None:
    rig = rigs.Rig(_account())
    changes = [_attach(D, VANS), _detach(A, VANS), _attach(B, DEPOT), _attach(C, NORTH)]
    found = await _apply(rig, changes)
    assert [type(outcome) for outcome in found] == [outcomes.Applied] * 4
    assert all(isinstance(outcome, outcomes.Applied) and outcome.request_id for outcome in found)
    assert rig.roster.memberships() == {(D, VANS), (B, VANS), (B, DEPOT), (C, DEPOT), (C, NORTH)}
    assert len(rig.writes) == 4
    assert rig.watcher.stages == [("Changing memberships", 4)]
    assert rig.watcher.steps == 4


async def test_a_driver_that_moves_is_never_in_no_fleet() -> None:
    """Attaches before detaches, driver by driver, whatever else is under way."""
    drivers = [values.DriverId(f"drv_{number:032d}") for number in range(40)]
    rig = rigs.Rig(rigs.roster_of({VANS: drivers, DEPOT: []}), behaviour=behaviour.Behaviour(latency_seconds=0.3))
    await _apply(rig, [change for driver in drivers for change in (_detach(driver, VANS), _attach(driver, DEPOT))])
    inside = dict.fromkeys(drivers, 1)
    for effect in rig.roster.effects:
        inside[values.DriverId(effect.driver)] += 1 if effect.action == "attach" else -1
        assert inside[values.DriverId(effect.driver)] > 0
    assert rig.roster.memberships() == {(driver, DEPOT) for driver in drivers}


async def test_lanes_run_side_by_side_up_to_the_concurrency() -> None:
    drivers = [values.DriverId(f"drv_{number:032d}") for number in range(40)]
    held = rigs.roster_of({VANS: []}, others=drivers)
    rig = rigs.Rig(held, behaviour=behaviour.Behaviour(latency_seconds=1), concurrency=10, burst=100)
    start = anyio.current_time()
    await _apply(rig, [_attach(driver, VANS) for driver in drivers])
    assert anyio.current_time() - start == pytest.approx(4, abs=0.2)


async def test_no_two_writes_share_a_key_and_each_is_in_the_journal_before_it_is_sent() -> None:
    drivers = [values.DriverId(f"drv_{number:032d}") for number in range(20)]
    missing: list[str] = []
    rig = rigs.Rig(
        rigs.roster_of({VANS: drivers, DEPOT: []}),
        transport=lambda: doubles.Witness(support.transport(rig.sandbox), rig.memory, missing),
        faults=faults.Faults({"500": 0.2, "reset_after": 0.2, "503": 0.2}),
    )
    for driver in drivers:
        await _apply(rig, [_detach(driver, VANS), _attach(driver, DEPOT)])
    assert missing == []
    keys = {(request.path, request.key) for request in rig.sandbox.requests if request.method == "POST"}
    assert len(keys) == len({key for _, key in keys}) == 40
    assert len(rig.writes) > 60


async def test_nothing_is_sent_once_the_journal_is_no_longer_ours() -> None:
    """Another process may be the one writer by now."""
    asked = itertools.count(1)

    class Lost(memory.MemoryJournal):
        async def check(self) -> None:
            if next(asked) > 2:
                raise errors.JournalError("this process may not write to the journal any more", code="journal_lost")

    rig = rigs.Rig(_account(), journal=Lost(), concurrency=1)
    found = await _apply(rig, [_attach(A, NORTH), _attach(B, NORTH), _attach(C, NORTH), _attach(D, NORTH)])
    assert _names(found) == ["applied", "applied", "deferred", "deferred"]
    assert len(rig.writes) == 2
    assert isinstance(found[2], outcomes.Deferred) and found[2].code == "journal_lost"


# --- The order within a driver ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["refused", "not_found", "503", "500", "reset_before", "html_200", "rate_limited"])
async def test_where_an_attach_does_not_succeed_the_drivers_detaches_wait(name: str) -> None:
    def script(request: messages.Request) -> str | None:
        return name if request.route == "attach" and request.subject == A else None

    rig = rigs.Rig(_account(), faults=faults.Faults(script=script), policy=QUICK)
    found = await _apply(rig, [_detach(A, VANS), _attach(A, DEPOT), _detach(B, VANS), _attach(B, NORTH)])
    waits = found[0]
    assert isinstance(waits, outcomes.Deferred)
    assert (waits.attempts, waits.code) == (0, "attach_first")
    assert _names(found)[1] in ("refused", "deferred")
    assert _names(found)[2:] == ["applied", "applied"]
    assert rig.roster.memberships() == {(A, VANS), (B, NORTH), (C, DEPOT)}


async def test_one_failed_attach_does_not_keep_the_driver_from_the_next() -> None:
    held = _account()
    held.change_fleet(DEPOT, status="archived")
    rig = rigs.Rig(held)
    found = await _apply(rig, [_attach(A, DEPOT), _attach(A, NORTH), _detach(A, VANS)])
    assert sorted(_names(found)) == ["applied", "deferred", "refused"]
    assert set(held.fleets_of(A)) == {VANS, NORTH}


async def test_an_attach_of_unknown_outcome_keeps_the_detach_waiting() -> None:
    def script(request: messages.Request) -> str | None:
        return "reset_after" if request.subject == A else None

    rig = rigs.Rig(_account(), faults=faults.Faults(script=script), policy=QUICK)
    assert _names(await _apply(rig, [_attach(A, DEPOT), _detach(A, VANS)])) == ["unknown", "deferred"]
    assert set(rig.roster.fleets_of(A)) == {VANS, DEPOT}


# --- Conflicts --------------------------------------------------------------------------------------------

CONFLICTS = behaviour.Behaviour(already_attached="conflict", not_attached="conflict", suspended_driver="conflict")


@pytest.mark.parametrize(("change", "already"), [(_attach(A, VANS), True), (_detach(D, VANS), True)])
@pytest.mark.parametrize("conduct", [CONFLICTS, behaviour.PLAUSIBLE], ids=["409", "200"])
async def test_what_somebody_else_did_already_is_done(
    change: values.Change, already: bool, conduct: behaviour.Behaviour
) -> None:
    rig = rigs.Rig(_account(), behaviour=conduct)
    (outcome,) = await _apply(rig, [change])
    assert outcome.name == ("already" if conduct is CONFLICTS else "applied")
    assert rig.roster.memberships() == _account().memberships()


async def test_a_conflict_that_is_none_of_that_is_refused() -> None:
    held = _account()
    held.change_driver(D, status="suspended")
    rig = rigs.Rig(held, behaviour=CONFLICTS)
    (outcome,) = await _apply(rig, [_attach(D, VANS)])
    assert isinstance(outcome, outcomes.Refused)
    assert (outcome.code, outcome.attempts) == ("driver_fleet_conflict", 1)
    assert outcome.request_id is not None


async def test_a_conflict_that_cannot_be_settled_is_unknown() -> None:
    def script(request: messages.Request) -> str | None:
        return "503" if request.route == "driver" else None

    rig = rigs.Rig(_account(), behaviour=CONFLICTS, faults=faults.Faults(script=script), policy=QUICK)
    (outcome,) = await _apply(rig, [_attach(A, VANS)])
    assert isinstance(outcome, outcomes.Unknown)
    assert "could not be read" in outcome.message


@pytest.mark.parametrize("name", ["refused", "not_found"])
async def test_a_driver_that_is_refused_harms_nobody_else(name: str) -> None:
    rig = rigs.Rig(_account())
    rig.sandbox.faults = faults.Faults(script=lambda request: name if request.subject == A else None)
    found = await _apply(rig, [_attach(A, DEPOT), _attach(B, DEPOT), _attach(GHOST, DEPOT), _attach(D, DEPOT)])
    assert _names(found) == ["refused", "applied", "refused", "applied"]
    assert len([line for line in rig.writes if A in line]) == 1


async def test_a_key_that_may_not_write_is_refused_without_retries() -> None:
    rig = rigs.Rig(_account(), behaviour=behaviour.Behaviour(read_only=True))
    found = await _apply(rig, [_attach(A, DEPOT), _attach(D, DEPOT)])
    assert _names(found) == ["refused", "refused"]
    assert len(rig.writes) == 2


# --- Lost and lying answers -------------------------------------------------------------------------------

LOST = ["500_after", "gateway_timeout", "reset_after", "truncated", "wrong_types", "hang_after"]
NOT_MADE = ["500", "503", "html", "html_200", "reset_before", "hang"]


@pytest.mark.parametrize("conduct", ["replay", "rerun", "outcome"])
@pytest.mark.parametrize("name", [*LOST, *NOT_MADE])
async def test_one_bad_answer_is_outlived_by_a_retry_under_the_same_key(name: str, conduct: Any) -> None:
    rig = rigs.Rig(_account(), behaviour=behaviour.Behaviour(stored_5xx=conduct), timeout=1)
    rig.sandbox.faults = faults.Faults(script=[name])
    assert _names(await _apply(rig, [_attach(D, VANS)])) == ["deferred" if _stuck(name, conduct) else "applied"]
    assert len({request.key for request in rig.sandbox.requests if request.key}) == 1
    assert sum(effect.changed for effect in rig.roster.effects) == (not _stuck(name, conduct))


def _stuck(name: str, conduct: str) -> bool:
    """Tell whether the key itself is lost: the server keeps repeating a 500 that came before the effect."""
    return name == "500" and conduct == "replay"


@pytest.mark.parametrize("action", list(values.Action))
@pytest.mark.parametrize("name", LOST)
async def test_a_lost_reply_is_settled_by_reading_and_takes_effect_once(name: str, action: values.Action) -> None:
    rig = rigs.Rig(_account(), faults=_writes(name), policy=QUICK, timeout=1)
    change = values.Change(action, D if action is values.Action.ATTACH else A, VANS)
    (outcome,) = await _apply(rig, [change])
    assert isinstance(outcome, outcomes.Applied)
    assert (outcome.attempts, outcome.message) == (QUICK.max_attempts, "settled by reading the driver")
    assert [effect.changed for effect in rig.roster.effects if effect.changed] == [True]
    assert ((D, VANS) in rig.roster.memberships()) is (action is values.Action.ATTACH)


@pytest.mark.parametrize("name", NOT_MADE)
async def test_a_write_that_never_took_effect_is_deferred(name: str) -> None:
    rig = rigs.Rig(_account(), faults=_writes(name), policy=QUICK, timeout=1)
    (outcome,) = await _apply(rig, [_attach(D, VANS)])
    assert isinstance(outcome, outcomes.Deferred)
    assert outcome.attempts == QUICK.max_attempts
    assert rig.requests("GET ") == [f"GET /drivers/{D}"]
    assert rig.roster.effects == []


@pytest.mark.parametrize("name", LOST + NOT_MADE)
async def test_a_write_that_cannot_be_settled_is_unknown(name: str) -> None:
    rig = rigs.Rig(_account(), faults=faults.Faults({name: 1.0}), policy=QUICK, timeout=1)
    (outcome,) = await _apply(rig, [_attach(D, VANS)])
    assert isinstance(outcome, outcomes.Unknown)
    assert outcome.message


async def test_an_unclear_answer_before_a_refusal_is_settled_by_reading() -> None:
    """The first attempt took effect, and the retry is refused for that very reason."""
    rig = rigs.Rig(_account(), behaviour=CONFLICTS)
    rig.sandbox.faults = faults.Faults(script=["500_after"])
    (outcome,) = await _apply(rig, [_attach(D, VANS)])
    assert isinstance(outcome, outcomes.Applied)
    assert outcome.attempts == 2


def _lying(rig: Callable[[], rigs.Rig], *, forward: bool, fleets: list[str]) -> httpx.AsyncBaseTransport:
    """Make a connection on which every write is answered 200 with these fleets, whether or not it was made."""

    def lie(request: httpx.Request, shown: Any) -> object | None:
        return {**shown, "fleets": fleets} if request.method == "POST" else None

    class Swallowing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST" and not forward:
                return httpx.Response(200, json={"id": request.url.path.split("/")[3], "fleets": fleets})
            return await support.transport(rig().sandbox).handle_async_request(request)

    return doubles.Meddler(Swallowing(), lie)


@pytest.mark.parametrize(("forward", "name"), [(True, "applied"), (False, "deferred")])
async def test_a_reply_that_shows_the_wrong_state_is_settled_by_reading(forward: bool, name: str) -> None:
    rig = rigs.Rig(_account(), transport=lambda: _lying(lambda: rig, forward=forward, fleets=[]))
    (outcome,) = await _apply(rig, [_attach(D, VANS)])
    assert outcome.name == name
    assert rig.requests("GET ") == [f"GET /drivers/{D}"]
    if isinstance(outcome, outcomes.Deferred):
        assert outcome.code == "reply_contradicts"


async def test_a_driver_that_vanished_before_it_could_be_settled_is_refused() -> None:
    held = _account()

    def script(request: messages.Request) -> str | None:
        if request.route == "driver":
            held.remove_driver(D)
        return "503" if request.route == "attach" else None

    rig = rigs.Rig(held, faults=faults.Faults(script=script), policy=QUICK)
    (outcome,) = await _apply(rig, [_attach(D, VANS)])
    assert isinstance(outcome, outcomes.Refused)
    assert outcome.code == "driver_not_found"


# --- The end of a run -------------------------------------------------------------------------------------


def _crowd(count: int) -> tuple[roster.Roster, list[values.Change]]:
    drivers = [values.DriverId(f"drv_{number:032d}") for number in range(count)]
    return rigs.roster_of({VANS: []}, others=drivers), [_attach(driver, VANS) for driver in drivers]


async def test_a_rejected_key_ends_everything_at_once() -> None:
    held, changes = _crowd(30)
    left = [10]
    rig = rigs.Rig(held, concurrency=1, transport=lambda: doubles.Revoking(support.transport(rig.sandbox), left))
    found = await _apply(rig, changes)
    assert left == [-1]
    assert _names(found) == ["applied"] * 10 + ["deferred"] * 20
    assert len(rig.roster.effects) == 10
    assert isinstance(rig.halt.reason, errors.KeyRejected)


async def test_too_long_a_pause_defers_what_is_left() -> None:
    held, changes = _crowd(30)
    rig = rigs.Rig(held, requests_per_second=20, burst=1, concurrency=4)

    async def refuse() -> None:
        await anyio.sleep(0.5)
        rig.sandbox.behaviour = behaviour.Behaviour(
            rate=0.001, burst=1, limit="sliding", window_seconds=3600, retry_after="seconds"
        )

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refuse)
        found = await _apply(rig, changes)
    assert anyio.current_time() - start < 5
    assert set(_names(found)) == {"applied", "deferred"}
    assert all(outcome.code == "rate_limit_exceeded" for outcome in found if isinstance(outcome, outcomes.Deferred))
    assert _names(found).count("applied") == len(rig.roster.effects)


async def test_a_stop_lets_finish_what_is_in_flight_and_sends_nothing_more() -> None:
    held, changes = _crowd(30)
    rig = rigs.Rig(held, concurrency=5, behaviour=behaviour.Behaviour(latency_seconds=10))

    async def stop() -> None:
        await anyio.sleep(3)
        rig.halt.stop(errors.Stopped("ended by SIGTERM", exit_code=143))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        found = await _apply(rig, changes)
    assert _names(found) == ["applied"] * 5 + ["deferred"] * 25
    assert len(rig.writes) == len(rig.roster.effects) == 5
    assert all(isinstance(outcome, outcomes.Deferred) and outcome.attempts == 0 for outcome in found[5:])


async def test_a_stop_ends_a_backoff_with_what_is_known() -> None:
    """After 429 it certainly was not made; after 503 that is unknown, and there is no more reading."""
    rig = rigs.Rig(_account(), policy=retry.Policy(max_attempts=9, base_seconds=100, max_seconds=100))

    def script(request: messages.Request) -> str | None:
        return {A: "rate_limited", B: "503"}.get(values.DriverId(request.subject))

    rig.sandbox.faults = faults.Faults(script=script)

    async def stop() -> None:
        await anyio.sleep(5)
        rig.halt.stop(errors.Stopped("ended by SIGTERM", exit_code=143))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        found = await _apply(rig, [_attach(A, DEPOT), _attach(B, DEPOT)])
    assert _names(found) == ["deferred", "unknown"]
    assert len(rig.sandbox.requests) == 2


async def test_a_cut_leaves_what_was_in_flight_unknown() -> None:
    held, changes = _crowd(30)
    rig = rigs.Rig(held, concurrency=5, faults=_writes("hang_after"))

    async def end() -> None:
        await anyio.sleep(3)
        rig.halt.stop(errors.Stopped("ended by SIGTERM", exit_code=143))
        await anyio.sleep(3)
        rig.halt.cut()

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end)
        found = await _apply(rig, changes)
    assert anyio.current_time() - start == pytest.approx(6)
    assert _names(found) == ["unknown"] * 5 + ["deferred"] * 25


async def test_a_cut_while_a_contradiction_is_being_settled_leaves_it_unknown() -> None:
    """An answer said done and showed otherwise: until a reading shows which, neither is known."""

    def script(request: messages.Request) -> str | None:
        return "hang" if request.route == "driver" else None

    rig = rigs.Rig(
        _account(),
        faults=faults.Faults(script=script),
        transport=lambda: _lying(lambda: rig, forward=True, fleets=[]),
    )

    async def end() -> None:
        await anyio.sleep(3)
        rig.halt.stop(errors.Stopped("ended by SIGTERM", exit_code=143))
        rig.halt.cut()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end)
        found = await _apply(rig, [_attach(D, VANS)])
    assert _names(found) == ["unknown"]


async def test_a_journal_that_fails_meanwhile_stops_further_writes() -> None:
    held, changes = _crowd(60)
    journal = doubles.FailingJournal("record", after=1)
    rig = rigs.Rig(held, journal=journal, requests_per_second=50, burst=2, concurrency=2)
    found = await _apply(rig, changes)
    assert isinstance(rig.halt.reason, errors.JournalError)
    assert 0 < len(rig.writes) < 20
    assert set(_names(found)) == {"applied", "deferred"}
    assert _names(found).count("applied") == len(rig.roster.effects)


async def test_nothing_to_apply_is_nothing_done() -> None:
    rig = rigs.Rig(_account())
    assert await rig.applier(rig.sender()).apply([]) == ()
    assert rig.sandbox.requests == []


async def test_every_outcome_is_logged_without_the_key(log: list[dict[str, Any]]) -> None:
    rig = rigs.Rig(_account())
    await _apply(rig, [_attach(A, DEPOT), _attach(GHOST, DEPOT), _detach(B, VANS)])
    lines = {(line["event"], line["driver"], line["outcome"], line["log_level"]) for line in log if "driver" in line}
    assert lines == {
        ("membership_attach", A, "applied", "info"),
        ("membership_attach", GHOST, "refused", "warning"),
        ("membership_detach", B, "applied", "info"),
    }


def test_intents_are_values() -> None:
    assert ports.Intent(values.IntentKey("k"), _attach(A, VANS)) == ports.Intent(
        values.IntentKey("k"), _attach(A, VANS)
    )
