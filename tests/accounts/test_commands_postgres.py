"""The commands about the accounts of a cluster, as an operator gives them, on a real database."""

import contextlib
import json
import pathlib
import sys
from collections.abc import Iterator

import anyio
import psycopg
import pytest

from tests.journal import backends, cluster
from tests.support import command, served
from worker.cli import main
from worker.core.model.errors import BelongsToWorkers, JournalBusy
from worker.journal import address, claims, connection, migrations, sql_journal
from worker.sandbox import app as sandbox
from worker.sandbox import state
from worker.service import cluster as clusters
from worker.service import cluster_command

SOURCE = '[[sources]]\npath = "people.yaml"\n'


class Operator:
    """A folder with the defaults of a cluster, and the command line on it."""

    def __init__(
        self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def write(self, name: str, text: str) -> pathlib.Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """Call the command line as the console script does; return its exit code and what it printed."""
        self._monkeypatch.setattr(sys, "argv", ["fleet-sync", "--config", str(self.folder), *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *self._capsys.readouterr()


@pytest.fixture
def operator(
    tmp_path: pathlib.Path,
    postgresql_backend: backends.PostgresBackend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Operator:
    """Return an operator of a cluster without accounts, and with one settings file."""
    found = Operator(tmp_path, monkeypatch, capsys)
    found.write("database", postgresql_backend.url)
    found.write("_defaults.toml", '[secrets]\nkind = "env"\n[cluster]\nurl_file = "database"\npermit_seconds = 1\n')
    found.write("people.yaml", f"fleets:\n  flt_{'a' * 32}:\n    drivers: [drv_{'b' * 32}]\n")
    found.write("acme.txt", SOURCE)
    return found


def add(operator: Operator, name: str, *more: str, file: str = "acme.txt") -> tuple[int, str, str]:
    return operator.call("accounts", "add", name, "--file", str(operator.folder / file), *more)


def test_a_cluster_begins_without_accounts(operator: Operator) -> None:
    assert operator.call("accounts", "list") == (
        0,
        f"No accounts. To add one: fleet-sync --config {operator.folder} accounts add NAME --file FILE\n",
        "",
    )
    assert json.loads(operator.call("accounts", "list", "--json")[1]) == {
        "format": "fleet-sync/accounts@1",
        "accounts": [],
    }


def test_an_account_is_added_listed_and_removed(operator: Operator) -> None:
    assert add(operator, "acme") == (0, "Account acme: added.\n", "")
    assert add(operator, "acme") == (0, "Account acme: unchanged.\n", "")
    assert operator.call("accounts", "list")[:2] == (0, "acme  new\n")
    (listed,) = json.loads(operator.call("accounts", "list", "--json")[1])["accounts"]
    due = listed.pop("due_at")
    assert listed == {
        "account": "acme",
        "condition": None,
        "gist": None,
        "last_success": None,
        "failures": 0,
        "epoch": 0,
        "worker": None,
    }
    assert "T" in due
    assert operator.call("accounts", "remove", "acme")[:2] == (
        0,
        "Account acme: removed. Its records stay in the journal.\n",
    )
    code, _, error = operator.call("accounts", "remove", "acme")
    assert (code, "the cluster has no account acme" in error) == (1, True)


def test_settings_are_replaced_only_where_that_is_asked_for(operator: Operator) -> None:
    add(operator, "acme")
    operator.write("acme.txt", f"{SOURCE}[sync]\ninterval_seconds = 60\n")
    code, _, error = add(operator, "acme")
    assert (code, "Pass --replace" in error) == (1, True)
    assert add(operator, "acme", "--replace") == (0, "Account acme: replaced.\n", "")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("acme", "[sync]\ninterval_seconds = -1\n" + SOURCE, "acme.txt:2:20: sync.interval_seconds"),
        ("acme", f"{SOURCE}[journal]\nurl = 'sqlite:///a.db'", "journal.url: the journal is in the cluster's database"),
        ("acme", f"{SOURCE}[status]", "status is about all accounts"),
        ("a b", SOURCE, "not the name of an account"),
        ("../acme", SOURCE, "not the name of an account"),
        ("acme", f"{SOURCE}# ch_sk_live_0123456789\n", "acme.txt:3:3: this looks like a secret key"),
    ],
)
def test_settings_that_no_account_may_have_are_not_added(operator: Operator, name: str, text: str, said: str) -> None:
    operator.write("acme.txt", text)
    code, _, error = add(operator, name)
    assert code == 1
    assert said in error
    assert "0123456789" not in error
    assert json.loads(operator.call("accounts", "list", "--json")[1])["accounts"] == []


def test_a_comment_may_say_how_keys_begin(operator: Operator) -> None:
    operator.write("acme.txt", f"# The key of acme begins with ch_sk_test_\n{SOURCE}")
    assert add(operator, "acme")[0] == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_settings_in_another_encoding_are_stored_as_text(operator: Operator, encoding: str) -> None:
    (operator.folder / "acme.txt").write_bytes(f"# Übung\n{SOURCE}".encode(encoding))
    assert add(operator, "acme") == (0, "Account acme: added.\n", "")
    operator.write("acme.txt", f"# Übung\n{SOURCE}")
    assert add(operator, "acme") == (0, "Account acme: unchanged.\n", "")
    assert operator.call("--account", "acme", "check")[0] == 0


def test_times_are_in_utc_wherever_the_server_is(
    operator: Operator, postgresql_backend: backends.PostgresBackend
) -> None:
    add(operator, "acme")
    with psycopg.connect(postgresql_backend.url) as database:
        database.execute(
            "UPDATE cluster_accounts SET last_success = '2026-11-23T15:00:00Z', due_at = '2026-11-23T15:05:00Z'"
        )
    operator.write("database", f"{postgresql_backend.url}%20-ctimezone%3DAsia/Kolkata")
    (listed,) = json.loads(operator.call("accounts", "list", "--json")[1])["accounts"]
    assert (listed["last_success"], listed["due_at"]) == ("2026-11-23T15:00:00.000Z", "2026-11-23T15:05:00.000Z")


@pytest.mark.parametrize("command", [["list"], ["add", "acme", "--file", "acme.txt"], ["remove", "acme"]])
def test_the_accounts_are_all_accounts(operator: Operator, command: list[str]) -> None:
    code, _, error = operator.call("--account", "acme", "accounts", *command)
    assert (code, "leave --account out" in error) == (main.USAGE, True)


def test_a_new_account_is_not_written_into_the_folder_of_a_cluster(operator: Operator) -> None:
    code, _, error = operator.call("--account", "clef", "init")
    command = f"fleet-sync --config {operator.folder} accounts add NAME --file FILE"
    assert (code, f"`{command}`" in error) == (main.USAGE, True)
    assert not (operator.folder / "clef.toml").exists()


@pytest.mark.anyio
async def test_an_account_that_is_run_from_a_folder_is_not_added_meanwhile(
    operator: Operator, postgresql_backend: backends.PostgresBackend
) -> None:
    """Both would write for it: the one by its lock, the other by its claim."""
    with contextlib.closing(connection.connect(address.parse(postgresql_backend.url))) as database:
        migrations.migrate(database)
    running = sql_journal.SqlJournal(postgresql_backend.url, clock=postgresql_backend.clock, account="acme")
    await running.open()
    code, _, error = add(operator, "acme")
    assert (code, "another fleet-sync runs the account acme outside the cluster" in error) == (1, True)
    assert json.loads(operator.call("accounts", "list", "--json")[1])["accounts"] == []
    await running.aclose()
    assert add(operator, "acme")[0] == 0
    with pytest.raises(BelongsToWorkers):
        await running.open()
    await running.aclose()


def test_two_accounts_never_have_one_variable_for_their_keys(operator: Operator) -> None:
    add(operator, "acme-1")
    code, _, error = add(operator, "acme_1")
    assert (code, "the account acme-1 has the same variable for its key, CHARGE_API_KEY__ACME_1" in error) == (1, True)


def test_a_file_that_is_missing_is_an_error(operator: Operator) -> None:
    code, _, error = add(operator, "acme", file="nothing")
    assert (code, "settings file not found" in error) == (1, True)


def test_another_command_finds_the_account_in_the_cluster(operator: Operator) -> None:
    add(operator, "acme")
    code, output, _ = operator.call("--account", "acme", "check")
    assert (code, output) == (0, "OK: 1 fleet, 1 membership; no request was made.\n")
    assert operator.call("--account", "acme", "history")[:2] == (0, "The journal has no runs yet.\n")
    code, _, error = operator.call("--account", "bolt", "check")
    assert (code, "the cluster has no account bolt" in error) == (1, True)


def test_check_checks_every_account(operator: Operator) -> None:
    add(operator, "acme")
    operator.write("acme.txt", '[[sources]]\npath = "nowhere.yaml"\n')
    add(operator, "bolt")
    code, output, _ = operator.call("check")
    assert (code, "nowhere.yaml" in output) == (1, True)


@pytest.mark.parametrize("account", [(), ("--account", "acme")], ids=["all", "one"])
def test_the_service_of_a_folder_does_not_run_a_cluster(operator: Operator, account: tuple[str, ...]) -> None:
    add(operator, "acme")
    code, _, error = operator.call(*account, "run")
    assert (code, f"`fleet-sync --config {operator.folder} worker`" in error) == (main.USAGE, True)


def test_a_folder_without_a_database_is_no_cluster(operator: Operator) -> None:
    operator.write("_defaults.toml", "")
    code, _, error = operator.call("accounts", "list")
    assert (code, "it has no section [cluster]" in error) == (1, True)


class TestWriting:
    """Commands that write have the account for themselves."""

    @pytest.fixture
    def charge(self, operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Iterator[state.SandboxState]:
        """Return a Charge whose memberships differ from the document of the account."""
        people = state.SandboxState.populate(drivers=6, fleets=2)
        with served.over_http(sandbox.Sandbox(people)) as url:
            monkeypatch.setenv("CHARGE_API_KEY__ACME", sandbox.KEY)
            operator.write("acme.txt", f'[charge]\nbase_url = "{url}"\n{SOURCE}')
            wanted = {fleet: sorted(people.members(fleet)) for fleet in people.fleets}
            driver = next(driver for driver in people.drivers if people.fleets_of(driver))
            operator.write("people.yaml", command.document(wanted))
            people.detach(driver, people.fleets_of(driver)[0])
            add(operator, "acme")
            yield people

    def once(self, operator: Operator, name: str = "acme") -> command.Ended:
        arguments = ("--config", str(operator.folder), "--account", name, "once", "--json")
        return command.run(*arguments, environ={f"CHARGE_API_KEY__{name.upper()}": sandbox.KEY})

    def test_a_run_claims_the_account_and_leaves_it_due(
        self, operator: Operator, charge: state.SandboxState, postgresql_backend: backends.PostgresBackend
    ) -> None:
        ended = self.once(operator)
        assert (ended.code, ended.document["outcomes"]["applied"]) == (0, 1)
        self.assert_left_due(operator, postgresql_backend, epoch=1)
        with psycopg.connect(postgresql_backend.url) as database:
            assert database.execute("SELECT epoch FROM runs").fetchall() == [(1,)]

    def test_apply_waits_while_a_worker_has_the_account_and_then_writes_under_an_epoch_of_its_own(
        self, operator: Operator, charge: state.SandboxState, postgresql_backend: backends.PostgresBackend
    ) -> None:
        plan, log = operator.folder / "acme.plan", operator.folder / "log"
        address = ("--config", str(operator.folder), "--account", "acme")
        environ = {"CHARGE_API_KEY__ACME": sandbox.KEY}
        assert command.run(*address, "plan", "--out", str(plan), environ=environ).code == 0
        worker = cluster.Process(postgresql_backend, "w")
        held = worker.claimed()
        with log.open("w") as stream:
            running = command.start(
                *address, "apply", str(plan), "--json", environ=environ, stderr=stream.fileno(), cwd=operator.folder
            )
        try:
            command.until(lambda: "account_busy" in log.read_text(), what="the command waits")
            assert charge.effects == []
            assert worker.journal(held).may_send() and worker.claims.heartbeat()  # it goes on undisturbed
            worker.claims.release(held, claims.Release(delay=3600.0, failures=0))
            ended = running.end()
        finally:
            running.reap()
            worker.claims.unregister()
            worker.pool.close()
        assert (ended.code, ended.document["outcomes"]["applied"]) == (0, 1)
        assert len(charge.effects) == 1
        self.assert_left_due(operator, postgresql_backend, epoch=2)
        with psycopg.connect(postgresql_backend.url) as database:
            assert database.execute("SELECT epoch FROM runs").fetchall() == [(2,)]

    def test_a_command_gives_up_an_account_that_a_worker_keeps_and_changes_nothing(
        self, operator: Operator, charge: state.SandboxState, postgresql_backend: backends.PostgresBackend
    ) -> None:
        worker = cluster.Process(postgresql_backend, "w")
        worker.claimed()

        async def write() -> None:
            async with cluster_command.journal(clusters.cluster(operator.folder), "acme", tries=1):
                raise AssertionError("the account was claimed")

        with pytest.raises(JournalBusy, match="a worker of the cluster has the account acme") as raised:
            anyio.run(write)
        assert "If no worker is left, start one" in raised.value.remedy
        worker.pool.close()
        (listed,) = json.loads(operator.call("accounts", "list", "--json")[1])["accounts"]
        assert (listed["epoch"], listed["worker"]) == (1, "w")
        with psycopg.connect(postgresql_backend.url) as database:
            assert database.execute("SELECT worker FROM cluster_workers").fetchall() == [("w",)]

    def assert_left_due(self, operator: Operator, backend: backends.PostgresBackend, *, epoch: int) -> None:
        (listed,) = json.loads(operator.call("accounts", "list", "--json")[1])["accounts"]
        assert (listed["epoch"], listed["worker"]) == (epoch, None)
        with psycopg.connect(backend.url) as database:
            assert database.execute("SELECT count(*) FROM cluster_workers").fetchall() == [(0,)]
            assert database.execute("SELECT due_at <= now() FROM cluster_accounts").fetchall() == [(True,)]

    def test_what_a_run_may_not_do_leaves_the_account_free_all_the_same(
        self, operator: Operator, charge: state.SandboxState
    ) -> None:
        operator.write("people.yaml", "")
        assert self.once(operator).code == 1
        (listed,) = json.loads(operator.call("accounts", "list", "--json")[1])["accounts"]
        assert (listed["epoch"], listed["worker"]) == (1, None)

    def test_a_key_of_another_account_is_not_written_with(
        self,
        operator: Operator,
        charge: state.SandboxState,
        postgresql_backend: backends.PostgresBackend,
    ) -> None:
        """Two accounts would take turns in undoing what the other one did."""
        assert self.once(operator).code == 0
        add(operator, "bolt")
        ended = self.once(operator, "bolt")
        assert (ended.code, ended.document["error"]["code"]) == (1, "settings_invalid")
        assert ended.document["error"]["message"] == "bolt: the account acme has the same key"
        with psycopg.connect(postgresql_backend.url) as database:
            assert database.execute("SELECT count(*) FROM runs").fetchall() == [(1,)]
            assert database.execute("SELECT epoch, released FROM cluster_accounts WHERE name = 'bolt'").fetchall() == [
                (1, True)
            ]

    def test_a_key_of_another_account_that_is_read_after_a_rejection_is_not_used(
        self, operator: Operator, charge: state.SandboxState
    ) -> None:
        """Story: a command looked whose its key was, and after a 401 took any."""
        assert self.once(operator).code == 0
        key = operator.write("key", f"{sandbox.KEY}_before")
        operator.write("acme-key", sandbox.KEY)
        rotate = f"cat {key}; cp {operator.folder / 'acme-key'} {key}"
        settings = (operator.folder / "acme.txt").read_text()
        argv = f"[charge]\napi_key_command = {json.dumps(['sh', '-c', rotate])}"
        operator.write("bolt.txt", settings.replace("[charge]", argv))
        add(operator, "bolt", file="bolt.txt")
        ended = self.once(operator, "bolt")
        assert (ended.code, ended.document["error"]["code"]) == (1, "key_rejected")
        assert "bolt: the account acme has the same key" in ended.stderr

    def test_an_account_that_comes_back_says_whose_records_it_continues(
        self, operator: Operator, charge: state.SandboxState
    ) -> None:
        """Under the name of another customer, it would begin with that one's."""
        assert self.once(operator).code == 0
        operator.call("accounts", "remove", "acme")
        assert add(operator, "acme") == (
            0,
            "Account acme: added; it continues the records that the journal has under this name.\n",
            "",
        )
        assert "converged" in operator.call("--account", "acme", "history")[1]

    def test_wrong_usage_that_is_found_late_is_wrong_usage_all_the_same(
        self, operator: Operator, charge: state.SandboxState
    ) -> None:
        code, _, error = operator.call("--account", "acme", "forget", "nobody")
        assert (code, "the journal knows no driver by the name" in error) == (main.USAGE, True)
        (listed,) = json.loads(operator.call("accounts", "list", "--json")[1])["accounts"]
        assert (listed["epoch"], listed["worker"]) == (1, None)

    def test_forgetting_claims_the_account_too(self, operator: Operator, charge: state.SandboxState) -> None:
        self.once(operator)
        (effect,) = charge.effects
        code, output, _ = operator.call("--account", "acme", "forget", effect.driver)
        assert (code, output.startswith("Forgotten")) == (0, True)
        (listed,) = json.loads(operator.call("accounts", "list", "--json")[1])["accounts"]
        assert (listed["epoch"], listed["worker"]) == (2, None)
