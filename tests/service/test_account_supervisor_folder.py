"""What the supervisor of a folder does with its accounts, before any of them can run."""

import anyio
import pytest
import structlog
from anyio import to_thread

import worker
from worker.core.model.account_files import Scan
from worker.core.model.errors import SettingsError, Stopped
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.core.pacing import spread
from worker.service import account_runner, account_service, account_supervisor
from worker.settings import account_folder, model
from worker.web import metrics

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Threads read the files, and virtual time would not wait for them."""
    return "asyncio"


class Reader:
    """Implements account_supervisor.Reader with files of which none can be used."""

    def __init__(self, *names: str) -> None:
        self.files: dict[str, tuple[int, ...]] = dict.fromkeys(names, (1,))
        self.defaults = 0

    def scan(self) -> Scan:
        return dict(self.files)

    def read_defaults(self) -> model.Status:
        self.defaults += 1
        return model.Status()

    def token(self) -> Secret | None:
        return None

    def read(self, name: str) -> account_service.Operator:
        raise SettingsError([Problem(f"{name}.toml:1:1", "unusable")])


def supervised(reader: Reader) -> account_supervisor.AccountSupervisor:
    return account_supervisor.AccountSupervisor(reader, model.Status(), metrics.Metrics())


async def test_accounts_are_spread_over_the_time_that_all_of_them_together_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that are new and those that changed count together: a deployment touches all of them at once."""
    asked = list[tuple[int, float]]()

    def delay(chance: float, *, accounts: int, longest: float) -> float:
        asked.append((accounts, longest))
        return 3600.0

    monkeypatch.setattr(spread, "delay", delay)
    reader = Reader(account_folder.DEFAULTS, "acme", "bolt")
    supervisor = supervised(reader)
    await supervisor.scan()
    async with anyio.create_task_group() as tasks:
        supervisor.start(tasks)
        assert asked == [(2, account_supervisor.START_SPREAD_SECONDS)] * 2
        assert to_thread.current_default_thread_limiter().total_tokens == 44
        asked.clear()
        reader.files |= {"acme": (2,), "clef": (1,)}
        for _ in range(3):
            await supervisor.follow(tasks)
        assert asked == [(2, account_supervisor.CHANGE_SPREAD_SECONDS)] * 2
        assert to_thread.current_default_thread_limiter().total_tokens == 46
        supervisor.request_stop(Stopped("the test ends", exit_code=0))


async def test_changed_defaults_are_read_once_and_every_account_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading makes every account run: without an end, all of them would run all the time."""
    changed = list[str]()
    monkeypatch.setattr(account_runner.AccountRunner, "file_changed", lambda runner, delay: changed.append(runner.name))
    monkeypatch.setattr(spread, "delay", lambda chance, *, accounts, longest: 3600.0)
    reader = Reader(account_folder.DEFAULTS, "acme", "bolt")
    supervisor = supervised(reader)
    await supervisor.scan()
    async with anyio.create_task_group() as tasks:
        supervisor.start(tasks)
        for version in (2, 3):
            reader.files[account_folder.DEFAULTS] = (version,)
            reader.defaults = 0
            changed.clear()
            for _ in range(5):
                await supervisor.follow(tasks)
            assert (reader.defaults, changed) == (1, ["acme", "bolt"])
        supervisor.request_stop(Stopped("the test ends", exit_code=0))


async def test_the_folder_is_shown_with_its_accounts_and_what_each_lacks() -> None:
    supervisor = supervised(Reader("acme"))
    assert (supervisor.unready_reason(), supervisor.drain_seconds) == ("", 0.0)
    await supervisor.scan()
    async with anyio.create_task_group() as tasks:
        supervisor.start(tasks)
        with anyio.fail_after(30):
            while supervisor.error("acme") is None:  # noqa: ASYNC110 - there is no event for it
                await anyio.sleep(0.01)
        assert "unusable" in str(supervisor.error("acme"))
        assert supervisor.unready_reason() == "no account is ready"
        assert [supervisor.has(name) for name in ("acme", "bolt")] == [True, False]
        for name in ("acme", "bolt"):
            assert (supervisor.service(name), supervisor.controls(name)) == (None, None)
        assert supervisor.error("bolt") is None
        shown = supervisor.status()
        assert ([each.name for each in shown.accounts], shown.error) == (["acme"], "")
        assert shown.version == worker.__version__
        assert shown.started <= shown.now
        supervisor.abort_writes()  # of which there are none
        supervisor.request_stop(Stopped("the test ends", exit_code=0))


async def test_an_account_that_is_removed_is_logged_and_gone_with_its_error() -> None:
    reader = Reader("acme", "bolt")
    supervisor = supervised(reader)
    await supervisor.scan()
    with structlog.testing.capture_logs() as lines:
        async with anyio.create_task_group() as tasks:
            supervisor.start(tasks)
            del reader.files["acme"]
            for _ in range(3):
                await supervisor.follow(tasks)
            assert (supervisor.has("acme"), supervisor.has("bolt")) == (False, True)
            supervisor.request_stop(Stopped("the test ends", exit_code=0))
    assert [line["account"] for line in lines if line["event"] == "account_added"] == ["acme", "bolt"]
    assert [line["account"] for line in lines if line["event"] == "account_removed"] == ["acme"]
    assert list(supervisor._all()) == [supervisor._runners["bolt"]], "one that has ended is waited for no more"


@pytest.mark.integration
async def test_a_stop_ends_the_wait_between_two_scans_with_the_exit_code_of_its_first_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(account_supervisor, "SCAN_SECONDS", 3600.0)
    supervisor, ended = supervised(Reader("acme")), list[int]()
    await supervisor.scan()

    async def run() -> None:
        ended.append(await supervisor.run())

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            supervisor.request_stop(Stopped("ended by SIGTERM", exit_code=143))
            supervisor.request_stop(Stopped("ended by SIGINT", exit_code=130))
    assert ended == [143]


async def test_the_longest_drain_of_all_accounts_counts_also_of_one_that_is_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = {"acme": 5.0, "bolt": 25.0}
    monkeypatch.setattr(account_runner.AccountRunner, "drain_seconds", property(lambda runner: seconds[runner.name]))
    supervisor = supervised(Reader())
    for name in seconds:
        runner = account_runner.AccountRunner(name, supervisor._common)
        (supervisor._runners if name == "acme" else supervisor._stopping)[name] = runner
    assert supervisor.drain_seconds == 25.0
