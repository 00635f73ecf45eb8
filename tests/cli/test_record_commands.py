"""What `history`, `show`, `why`, `forget`, `pause` and `resume` say, on a journal in memory."""

import datetime
import json

import pytest

from tests.journal import journal_factories
from tests.support import clocks, memory_journal
from worker.cli import pause_commands, record_commands
from worker.core.model.identifiers import Account, DriverId, FleetId
from worker.core.model.pauses import Pause
from worker.core.model.people import Person

pytestmark = pytest.mark.anyio

ANN, BOB = DriverId(f"drv_{'a' * 32}"), DriverId(f"drv_{'b' * 32}")
VANS, TAXIS = FleetId(f"flt_{'v' * 32}"), FleetId(f"flt_{'t' * 32}")
FLEETS = {VANS: "Paris vans", TAXIS: "Taxis"}
NAMES: dict[str, str] = {ANN: "Ann", VANS: "Paris vans", TAXIS: "Taxis"}


class _Journal(memory_journal.MemoryJournal):
    """A journal that knows what Charge calls two fleets, and of which another process may still have traces."""

    is_purged = True

    async def forget(self, driver: DriverId, *, now: datetime.datetime) -> bool:
        await super().forget(driver, now=now)
        return self.is_purged


@pytest.fixture
async def record() -> _Journal:
    """Return a journal with a run that changed something, and a later one that did not."""
    journal = _Journal(clock=clocks.Still())
    await journal.claim(Account("https://charge.test/v1", "test"), fleets=FLEETS, managed=())
    journal._store.people[ANN] = Person("Ann"), journal_factories.NOON
    changes = [journal_factories.change(ANN[4:], VANS[4:]), journal_factories.change(ANN[4:], TAXIS[4:])]
    await journal_factories.whole(journal, changes, run="run_1", at=journal_factories.NOON)
    await journal_factories.whole(journal, run="run_2", at=journal_factories.minutes(5))
    return journal


async def test_what_somebody_shows_has_the_names_of_fleets(
    record: _Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await record_commands._show(record, run="run_1", as_json=False) == 0
    page = capsys.readouterr().out
    assert f"attached to Paris vans {VANS}" in page
    assert "problem: teams/a:b.yaml:7:1: nobody has this address" in page
    assert await record_commands._show(record, run="run_1", as_json=True) == 0
    assert [each["fleet"] for each in json.loads(capsys.readouterr().out)["changes"]] == [TAXIS, VANS]


async def test_why_may_be_asked_about_one_fleet(record: _Journal, capsys: pytest.CaptureFixture[str]) -> None:
    for fleet, seen in ((None, [VANS, TAXIS]), ("Taxis", [TAXIS])):
        assert await record_commands._why(record, driver=ANN, fleet=fleet, as_json=True) == 0
        document = json.loads(capsys.readouterr().out)
        assert [each["fleet"] for each in document["changes"]] == seen
        assert document["names"] == {id: NAMES[id] for id in (ANN, *seen)}
        assert await record_commands._why(record, driver=ANN, fleet=fleet, as_json=False) == 0
        assert capsys.readouterr().out.count(" attached to ") == len(seen)


async def test_history_has_every_run_and_no_more_than_are_asked_for(
    record: _Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    for limit, runs in ((20, ["run_2", "run_1"]), (1, ["run_2"])):
        assert await record_commands._history(record, as_json=True, limit=limit) == 0
        listed = json.loads(capsys.readouterr().out)["runs"]
        assert [run["run"] for run in listed] == runs
        assert [run["names"] for run in listed] == [{}, {ANN: "Ann"}][:limit]
        assert await record_commands._history(record, as_json=False, limit=limit) == 0
        assert [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()] == runs


@pytest.mark.parametrize("is_purged", [True, False])
async def test_forget_says_where_traces_remain(
    record: _Journal, capsys: pytest.CaptureFixture[str], is_purged: bool
) -> None:
    record.is_purged = is_purged
    assert await record_commands._forget(record, driver=BOB) == 0
    said = capsys.readouterr().out
    assert f"no longer has the name or e-mail address of {BOB}.\n" in said
    assert ("removes the last traces at the end of its next run" in said) is not is_purged


class TestPause:
    """Pauses of one fleet and of all."""

    async def test_one_of_a_fleet_names_it_and_says_how_to_end_it(
        self, record: _Journal, capsys: pytest.CaptureFixture[str]
    ) -> None:
        two_hours = datetime.timedelta(hours=2)
        assert await pause_commands._pause(record, fleet="Paris vans", length=two_hours, reason="HR moves") == 0
        [pause] = record._store.pauses
        assert (pause.fleet, pause.reason, pause.until) == (VANS, "HR moves", pause.since + two_hours)
        first, second = capsys.readouterr().out.splitlines()
        assert first == f"Paris vans ({VANS}): {pause}."
        assert second.endswith(f"To go on: fleet-sync resume --fleet {VANS}")

    async def test_one_of_all_fleets_lasts_until_it_is_ended(
        self, record: _Journal, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert await pause_commands._pause(record, fleet=None, length=None, reason="") == 0
        [pause] = record._store.pauses
        assert (pause.fleet, pause.until) == (None, None)
        first, second = capsys.readouterr().out.splitlines()
        assert first == f"All fleets: {pause}."
        assert second.endswith("To go on: fleet-sync resume")

    async def test_who_pauses_is_recorded(self, record: _Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("getpass.getuser", lambda: "ada")
        await pause_commands._pause(record, fleet=None, length=None, reason="")
        assert [each.by for each in record._store.pauses] == ["ada"]

        def unknown() -> str:
            raise KeyError("this user has no name")

        monkeypatch.setattr("getpass.getuser", unknown)
        await pause_commands._pause(record, fleet=None, length=None, reason="")
        assert [each.by for each in record._store.pauses] == [""]

    async def test_one_fleet_is_resumed_without_the_others(
        self, record: _Journal, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pauses = [Pause(journal_factories.NOON, fleet=fleet) for fleet in (VANS, TAXIS, None)]
        for each in pauses:
            await record.pause(each)
        assert await pause_commands._resume(record, fleet="Taxis") == 0
        assert capsys.readouterr().out == f"Resumed: Taxis ({TAXIS}), {pauses[1]}.\n"
        assert record._store.pauses == [pauses[0], pauses[2]]
        assert await pause_commands._resume(record, fleet=None) == 0
        assert capsys.readouterr().out == (
            f"Resumed: Paris vans ({VANS}), {pauses[0]}.\nResumed: all fleets, {pauses[2]}.\n"
        )
        assert await pause_commands._resume(record, fleet=None) == 0
        assert capsys.readouterr().out == "Nothing was paused.\n"
