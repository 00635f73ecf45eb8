"""Many accounts in one process: each follows its own file, and nothing that is wrong with one touches another."""

import collections
import dataclasses
import functools
import os
import pathlib
import signal
from collections.abc import Iterator, Mapping, Sequence

import anyio
import pytest
import structlog

from tests.service import supervised
from tests.support import clocks
from worker.core.model.account_files import Scan
from worker.core.model.errors import JournalBusy, SettingsError
from worker.core.model.secret import Secret
from worker.core.monitoring import status
from worker.core.monitoring.account_overview import Condition
from worker.journal import sql_journal
from worker.service import account_reader, account_runner, account_service, account_supervisor
from worker.settings import model

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Threads read the files, and virtual time would not wait for them."""
    return "asyncio"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Iterator[supervised.Folder]:
    made = supervised.Folder(tmp_path)
    with made.stack:
        yield made


async def test_every_account_is_kept_in_sync_on_its_own(folder: supervised.Folder) -> None:
    for name in ("acme", "bolt"):
        folder.add(name)
    async with supervised.supervised(folder.reader) as running:
        await running.until_in_sync("acme", "bolt")
        assert running.supervisor.unready_reason() == ""
        services = [running.supervisor.service(name) for name in ("acme", "bolt")]
        assert [each and each.snapshot().account_name for each in services] == ["acme", "bolt"]
    assert {path.name for path in folder.path.glob("*.db")} == {"acme.db", "bolt.db"}


async def test_a_broken_file_harms_no_other_account_and_works_once_it_is_corrected(folder: supervised.Folder) -> None:
    folder.add("acme")
    folder.add("bolt")
    good = folder.text("bolt")
    folder.write("bolt", "[sync]\ninterval_seconds = -1\n")
    async with supervised.supervised(folder.reader) as running:
        await running.until_in_sync("acme")
        seen = await running.until(lambda seen: seen["bolt"].condition is Condition.BROKEN)
        assert "bolt.toml:2:20: sync.interval_seconds" in seen["bolt"].gist + str(running.supervisor.error("bolt"))
        assert seen["bolt"].broken == {status.Part.SETTINGS}
        assert running.supervisor.service("bolt") is None
        folder.write("bolt", good)
        await running.scan()
        await running.until_in_sync("bolt")
        assert running.supervisor.error("bolt") is None


async def test_a_file_that_is_added_starts_an_account(folder: supervised.Folder) -> None:
    async with supervised.supervised(folder.reader) as running:
        assert running.accounts() == {}
        assert running.supervisor.unready_reason() == ""
        folder.add("acme")
        await running.supervisor.follow(running.tasks)
        assert running.accounts() == {}, "the file may still be written"
        await running.supervisor.follow(running.tasks)
        await running.until_in_sync("acme")


async def test_an_account_that_is_removed_ends_and_frees_its_journal_and_key(folder: supervised.Folder) -> None:
    folder.add("acme")
    folder.add("bolt")
    async with supervised.supervised(folder.reader) as running:
        await running.until_in_sync("acme", "bolt")
        settings = folder.reader.read("acme").settings
        folder.remove("acme")
        await running.scan()
        assert running.accounts().keys() == {"bolt"}
        journal = sql_journal.SqlJournal(settings.journal_url, clock=clocks.Still())
        await _until_free(journal)
        folder.add("clef", charge="acme")
        await running.scan()
        await running.until_in_sync("clef")
        assert running.accounts()["bolt"].condition is Condition.IN_SYNC


async def _until_free(journal: sql_journal.SqlJournal) -> None:
    """Wait until another process could become the writer."""
    with anyio.fail_after(30):
        while True:
            try:
                await journal.open()
            except JournalBusy:
                await anyio.sleep(0.01)
            else:
                break
    await journal.aclose()


async def test_an_account_that_is_removed_and_added_again_waits_for_its_predecessor(folder: supervised.Folder) -> None:
    folder.add("acme")
    text = folder.text("acme")
    async with supervised.supervised(folder.reader) as running:
        await running.until_in_sync("acme")
        predecessor = running.supervisor.service("acme")
        folder.remove("acme")
        await running.scan()
        folder.write("acme", text)
        await running.scan()
        await running.until_in_sync("acme")
        assert running.supervisor.service("acme") not in (None, predecessor)


async def test_a_changed_file_takes_effect_without_a_restart(folder: supervised.Folder) -> None:
    folder.add("acme")
    async with supervised.supervised(folder.reader) as running:
        await running.until_in_sync("acme")
        before = running.supervisor.service("acme")
        people = folder.charges["acme"].state
        fleet, driver = next((fleet, min(people.members(fleet))) for fleet in people.fleets if people.members(fleet))
        people.detach(driver, fleet)
        folder.write("acme", folder.text("acme") + "[sync]\napply = false\n")
        await running.scan()
        await running.until(lambda seen: seen["acme"].condition is Condition.DRIFTING)
        assert running.supervisor.service("acme") is before
        assert driver not in people.members(fleet)


@dataclasses.dataclass
class CountingReader:
    """Counts how often each account is read."""

    inner: account_reader.FolderReader
    reads: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def scan(self) -> Scan:
        return self.inner.scan()

    def read_defaults(self) -> model.Status:
        return self.inner.read_defaults()

    def token(self) -> Secret | None:
        return None

    def read(self, name: str) -> account_service.Operator:
        self.reads[name] += 1
        return self.inner.read(name)


async def test_a_file_is_read_once_for_each_change(folder: supervised.Folder) -> None:
    folder.add("acme")
    reader = CountingReader(folder.reader)
    async with supervised.supervised(reader) as running:
        await running.until_in_sync("acme")
        for reads in (2, 3):
            folder.write("acme", folder.text("acme") + "\n")
            await running.scan()
            await running.until(lambda _, reads=reads: reader.reads["acme"] == reads)  # type: ignore[misc]
        folder.add("bolt")
        await running.scan()
        await running.until_in_sync("acme", "bolt")
        assert reader.reads == {"acme": 3, "bolt": 1}


async def test_a_broken_file_is_tried_again_and_again_and_logged_once(
    folder: supervised.Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be whole again although nobody saw it change: its key is in another file."""
    monkeypatch.setattr(account_runner, "retry_seconds", lambda failures: 0.01 if failures else 3600.0)
    folder.add("acme")
    reader = CountingReader(folder.reader)
    with structlog.testing.capture_logs() as logs:
        async with supervised.supervised(reader) as running:
            await running.until_in_sync("acme")
            (folder.path / "key-acme").rename(folder.path / "away")
            folder.write("acme", folder.text("acme") + "\n")
            await running.scan()
            await running.until(lambda _: reader.reads["acme"] > 4)
            (folder.path / "away").rename(folder.path / "key-acme")
            await running.until_in_sync("acme")
    assert [line["event"] for line in logs].count("settings_broken") == 1


async def test_an_invalid_change_leaves_the_last_valid_settings_in_force(folder: supervised.Folder) -> None:
    folder.add("acme")
    async with supervised.supervised(folder.reader) as running:
        await running.until_in_sync("acme")
        service = running.supervisor.service("acme")
        folder.write("acme", "nonsense")
        await running.scan()
        seen = await running.until(lambda seen: seen["acme"].condition is Condition.BROKEN)
        assert seen["acme"].broken == {status.Part.SETTINGS}
        assert running.supervisor.service("acme") is service
        folder.add("acme", settings="[sync]\ninterval_seconds = 200.0\n", charge="acme")
        await running.scan()
        await running.until_in_sync("acme")


async def test_another_journal_starts_the_account_again(folder: supervised.Folder) -> None:
    folder.add("acme")
    async with supervised.supervised(folder.reader) as running:
        await running.until_in_sync("acme")
        service = running.supervisor.service("acme")
        folder.write("acme", folder.text("acme") + '[journal]\nurl = "sqlite:///other.db"\n')
        await running.scan()
        await running.until(lambda seen: running.supervisor.service("acme") not in (None, service))
        await running.until_in_sync("acme")
    assert (folder.path / "other.db").exists()


@pytest.mark.parametrize("shared", ["key", "journal"])
async def test_two_accounts_never_share_a_key_or_a_journal(
    folder: supervised.Folder, shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the one is removed, the other begins at once."""
    monkeypatch.setattr(account_runner, "retry_seconds", lambda failures: 3600.0)
    folder.add("bolt", settings='[journal]\nurl = "sqlite:///one.db"\n')
    async with supervised.supervised(folder.reader) as running:
        await running.until_in_sync("bolt")
        if shared == "key":
            folder.add("acme", charge="bolt")
        else:
            folder.add("acme", settings='[journal]\nurl = "sqlite:///one.db"\n')
        await running.scan()
        seen = await running.until(lambda seen: seen["acme"].condition is Condition.BROKEN)
        assert f"the account bolt has the same {shared}" in seen["acme"].gist
        assert seen["bolt"].condition is Condition.IN_SYNC
        folder.remove("bolt")
        await running.scan()
        await running.until(lambda seen: running.supervisor.service("acme") is not None)


async def test_a_folder_that_cannot_be_read_changes_nothing(folder: supervised.Folder) -> None:
    folder.add("acme")
    async with supervised.supervised(folder.reader) as running:
        await running.until_in_sync("acme")
        moved = folder.path.with_name("away")
        folder.path.rename(moved)
        await running.scan()
        assert running.accounts()["acme"].condition is not Condition.STARTING
        assert "cannot read the folder" in running.supervisor.status().error
        assert "cannot read the folder" in running.supervisor.unready_reason()
        moved.rename(folder.path)
        await running.scan()
        assert running.accounts().keys() == {"acme"}
        assert running.supervisor.status().error == ""


class TestDefaults:
    async def test_a_change_reaches_every_account(self, folder: supervised.Folder) -> None:
        folder.add("acme")
        folder.add("bolt")
        async with supervised.supervised(folder.reader) as running:
            await running.until_in_sync("acme", "bolt")
            folder.write("_defaults", folder.text("_defaults") + "[rate_limit]\nrequests_per_second = 7.0\n")
            await running.scan()
            services = [running.supervisor.service(name) for name in ("acme", "bolt")]
            await running.until(lambda _: all(each and each.snapshot().ceiling == 7.0 for each in services))
            assert [each and each.snapshot().ceiling for each in services] == [7.0, 7.0]

    async def test_invalid_ones_leave_the_last_valid_ones_in_use(self, folder: supervised.Folder) -> None:
        folder.add("acme")
        valid = folder.text("_defaults")
        async with supervised.supervised(folder.reader) as running:
            await running.until_in_sync("acme")
            folder.write("_defaults", "nonsense")
            folder.add("bolt")
            await running.scan()
            assert "_defaults.toml:1:" in running.supervisor.status().error
            await running.until_in_sync("acme", "bolt")
            folder.write("_defaults", valid)
            await running.scan()
            assert running.supervisor.status().error == ""

    async def test_where_they_vanish_the_limits_of_accounts_stay_as_they_were(self, folder: supervised.Folder) -> None:
        folder.write("_defaults", folder.text("_defaults") + '[sync]\nmode = "additive"\n')
        folder.add("acme")
        async with supervised.supervised(folder.reader) as running:
            await running.until_in_sync("acme")
            folder.remove("_defaults")
            folder.add("bolt")
            await running.scan()
            assert "the file is gone" in running.supervisor.status().error
            assert folder.reader.read("bolt").settings.sync.mode == "additive"

    async def test_the_address_of_the_page_needs_a_restart(self, folder: supervised.Folder) -> None:
        async with supervised.supervised(folder.reader) as running:
            folder.write("_defaults", folder.text("_defaults") + '[status]\nlisten = "127.0.0.1:0"\n')
            await running.scan()
            assert "read only at the start" in running.supervisor.status().error


@dataclasses.dataclass
class FaultyReader(CountingReader):
    """Has one account, which cannot be built at first: a defect, as far as the supervisor knows."""

    failures: int = 1

    def read(self, name: str) -> account_service.Operator:
        found = super().read(name)
        if name != "acme" or not self.failures:
            return found
        self.failures -= 1
        return dataclasses.replace(found, credentials=dataclasses.replace(found.credentials, read_key=None, proxy=5))  # type: ignore[arg-type]


async def test_a_defect_in_one_account_ends_no_other_and_starts_it_again(folder: supervised.Folder) -> None:
    folder.add("acme")
    folder.add("bolt")
    with structlog.testing.capture_logs() as logs:
        async with supervised.supervised(FaultyReader(folder.reader)) as running:
            await running.until(lambda seen: seen["acme"].condition is Condition.BROKEN)
            folder.write("acme", folder.text("acme") + "\n")  # otherwise it is tried again after some seconds
            await running.scan()
            await running.until_in_sync("bolt", "acme")
    assert [line["event"] for line in logs].count("account_crashed") == 1


async def test_a_signal_ends_all_accounts_and_the_process(folder: supervised.Folder) -> None:
    folder.add("acme")
    folder.add("bolt")
    folder.write("_defaults", folder.text("_defaults") + '[status]\nlisten = "127.0.0.1:0"\n')
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                await supervised.until(lambda: [line["event"] for line in logs].count("run_finished") == 2)
                os.kill(os.getpid(), signal.SIGTERM)

            with anyio.fail_after(60):
                tasks.start_soon(stop)
                assert await account_supervisor.run(folder.reader) == 143
    journal = sql_journal.SqlJournal(folder.reader.read("acme").settings.journal_url, clock=clocks.Still())
    await journal.open()
    await journal.aclose()


async def test_a_hangup_reads_every_file_again(folder: supervised.Folder) -> None:
    folder.add("acme")
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as tasks:

            async def hang_up_then_stop() -> None:
                for sent, event in ((signal.SIGHUP, "run_finished"), (signal.SIGTERM, "settings_reloaded")):
                    await supervised.until(functools.partial(_logged, logs, event))
                    os.kill(os.getpid(), sent)

            with anyio.fail_after(60):
                tasks.start_soon(hang_up_then_stop)
                assert await account_supervisor.run(folder.reader) == 143


def _logged(logs: Sequence[Mapping[str, object]], event: str) -> bool:
    return any(line["event"] == event for line in logs)


async def test_a_start_without_valid_defaults_is_an_error(folder: supervised.Folder) -> None:
    folder.write("_defaults", "nonsense")
    with pytest.raises(SettingsError, match=r"_defaults\.toml"):
        await account_supervisor.run(folder.reader)
