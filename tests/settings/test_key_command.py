"""The command that prints the key: bounded in time and size, and nothing of its output in any message."""

import fcntl
import pathlib
import sys

import pytest

from tests.settings import conftest
from worker.core.model.errors import SettingsError
from worker.settings import key_command, secrets

KEY = "ch_sk_test_Sesame"


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def setting(program: str) -> str:
    return f"charge.api_key_command = [{sys.executable!r}, '-c', {program!r}]\n"


def test_the_key_is_what_the_command_prints(load: conftest.Load) -> None:
    settings = load(setting(f'print("{KEY[:3]}" + "{KEY[3:]}")'))
    assert secrets.api_key(settings, {}).reveal() == KEY


def test_the_command_gets_no_key_of_another_account_and_no_token(
    load: conftest.Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of accounts, one may have a command and the others variables."""
    monkeypatch.setenv("CHARGE_API_KEY__OTHER", KEY)
    monkeypatch.setenv("FLEET_SYNC_STATUS_TOKEN", "open-sesame-open-sesame")
    monkeypatch.setenv("VAULT_TOKEN", "of-the-vault")
    named = '{"CHARGE_API_KEY__OTHER", "FLEET_SYNC_STATUS_TOKEN", "VAULT_TOKEN"}'
    settings = load(setting(f'import os; print("-".join(sorted({named} & {{*os.environ}})))'))
    assert secrets.api_key(settings, {}).reveal() == "VAULT_TOKEN"


def test_variable_and_files_win_over_the_command(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_text("of-the-file")
    settings = load(setting("raise SystemExit(1)") + "charge.api_key_file = 'key'\n")
    assert secrets.api_key(settings, {"CHARGE_API_KEY": KEY}).reveal() == KEY
    assert secrets.api_key(settings, {}).reveal() == "of-the-file"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ('import sys; sys.stderr.write("Sesame"); print("Sesame"); sys.exit(3)', "failed with exit code 3"),
        ("", "the key is empty"),
        ('print("Sesame Sesame")', "a space"),
        ('print("Sesame" * 1000)', "prints more than a key"),
        ('while True: print("Sesame" * 1000)', "prints more than a key"),
    ],
)
def test_a_command_that_prints_no_key_is_an_error_without_its_output(
    program: str, words: str, load: conftest.Load
) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        secrets.api_key(load(setting(program)), {})
    assert str(caught.value).startswith("charge.api_key_command")
    assert "Sesame" not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize("argv", [("/nowhere/at-all",), ("/",), ("a\0b",)])
def test_a_command_that_cannot_be_run_is_an_error(argv: tuple[str, ...]) -> None:
    with pytest.raises(key_command.CommandFailed, match="cannot be run"):
        key_command.run(argv, max_bytes=10)


def child_with_lock(folder: pathlib.Path) -> str:
    """Return a program that takes a lock, prints a line, and keeps the lock until it writes that it is done."""
    return (
        "import fcntl, pathlib, time\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "lock = open(folder / 'lock', 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "time.sleep(30)\n"
        "(folder / 'done').touch()\n"
    )


def was_killed(folder: pathlib.Path) -> bool:
    """Wait for the lock, and return whether the child did not get done."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    return not (folder / "done").exists()


def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path: pathlib.Path) -> None:
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child_with_lock(tmp_path)!r}])"
    with pytest.raises(key_command.CommandFailed, match="did not end within"):
        key_command.run(python(program), max_bytes=10, timeout=0.3)
    assert was_killed(tmp_path)


@pytest.mark.parametrize("code", [0, 3])
def test_children_of_a_command_that_ended_are_killed(tmp_path: pathlib.Path, code: int) -> None:
    program = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child_with_lock(tmp_path)!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        f"print({KEY!r})\n"
        f"sys.exit({code})\n"
    )
    if code:
        with pytest.raises(key_command.CommandFailed, match="failed with exit code 3"):
            key_command.run(python(program), max_bytes=100)
    else:
        assert key_command.run(python(program), max_bytes=100).decode().strip() == KEY
    assert was_killed(tmp_path)


def test_a_key_in_the_arguments_is_refused(refused: conftest.Refused) -> None:
    (found,) = refused("charge.api_key_command = ['echo', 'ch_sk_live_Sesame']\n")
    assert "never contain a secret key" in found
    assert "Sesame" not in found
