"""Running other programs: how much of their output is kept, and what is reported when they end."""

import os
import pathlib
import signal

import pytest

from worker.sources import processes

pytestmark = pytest.mark.anyio

PATIENCE = 60.0


async def run(script: str, folder: pathlib.Path, *, most: int = 100, seconds: float = PATIENCE) -> processes.Ended:
    environ = {"PATH": os.environ["PATH"], "GREETING": "hello"}
    return await processes.run(processes.Program(["sh", "-c", script], folder, environ, seconds, most))


async def test_a_program_has_its_folder_its_environment_and_no_input(tmp_path: pathlib.Path) -> None:
    ended = await run('cat; pwd; echo "$GREETING$HOME"; echo warning >&2; exit 3', tmp_path, most=1000)
    assert ended == processes.Ended(f"{tmp_path}\nhello\n".encode(), b"warning\n", 3, is_late=False, is_too_large=False)


@pytest.mark.parametrize(("most", "is_too_large"), [(5, False), (4, True)])
async def test_an_output_may_be_as_long_as_its_limit(tmp_path: pathlib.Path, most: int, is_too_large: bool) -> None:
    ended = await run("printf 12345", tmp_path, most=most)
    assert ended.is_too_large is is_too_large
    assert not ended.is_late


async def test_a_program_that_prints_without_end_is_killed(tmp_path: pathlib.Path) -> None:
    ended = await run("while :; do echo more; done", tmp_path)
    assert (ended.is_too_large, ended.is_late, ended.code) == (True, False, -signal.SIGKILL)


async def test_a_program_that_takes_too_long_is_killed_and_late(tmp_path: pathlib.Path) -> None:
    ended = await run("echo begun; exec sleep 600", tmp_path, seconds=0.5)
    assert (ended.is_late, ended.code, ended.is_too_large) == (True, -signal.SIGKILL, False)


async def test_what_others_print_after_a_program_has_ended_is_kept(tmp_path: pathlib.Path) -> None:
    """As tee in `exec > >(tee log)` does."""
    after = "while kill -0 $$ 2>/dev/null; do :; done; head -c 1000000 /dev/zero"
    ended = await run(f"({after}) & exit 0", tmp_path, most=1_000_000)
    assert (len(ended.stdout), ended.code, ended.is_late, ended.is_too_large) == (1_000_000, 0, False, False)


async def test_too_much_that_others_print_after_a_program_has_ended_is_too_large(tmp_path: pathlib.Path) -> None:
    after = "while kill -0 $$ 2>/dev/null; do :; done; while :; do echo more; done"
    ended = await run(f"({after}) & exit 0", tmp_path)
    assert (ended.is_too_large, ended.is_late) == (True, False)


async def test_a_program_that_fails_does_not_wait_for_what_it_leaves_behind(tmp_path: pathlib.Path) -> None:
    ended = await run("sleep 600 & exit 3", tmp_path)
    assert (ended.code, ended.is_late) == (3, False)


async def test_of_many_warnings_the_last_are_kept(tmp_path: pathlib.Path) -> None:
    ended = await run("head -c 100000 /dev/zero >&2; echo the end >&2", tmp_path)
    assert len(ended.stderr) == 64 * 1024
    assert ended.stderr.endswith(b"\0the end\n")


async def test_a_program_that_a_signal_ends_has_its_negative_number(tmp_path: pathlib.Path) -> None:
    assert (await run("kill -TERM $$", tmp_path)).code == -signal.SIGTERM


def test_a_program_inherits_everything_but_our_secrets() -> None:
    environ = {
        "PATH": "/bin",
        "CHARGE_API_KEY": "x",
        "CHARGE_API_KEY_FILE": "x",
        "FLEET_SYNC_STATUS_TOKEN": "x",
        "OTHER": "say ch_sk_live_x",
        "CHARGE": "kept",
    }
    assert processes.inherited(environ) == {"PATH": "/bin", "CHARGE": "kept"}
