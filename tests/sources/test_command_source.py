"""What commands print: whole or an error, and nothing is left of them."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio.lowlevel
import trio.testing

from worker.core.model.errors import SourceError
from worker.sources import command_source, completeness, document_reader, document_source, positions

pytestmark = pytest.mark.anyio

DOCUMENT = '{"fleets": {"Paris": ["a@b"]}}'
PATIENT = 60.0
SECRET = "s3cr3t-of-the-source"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Use both event loops."""
    return str(request.param)


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", program)


def source(
    program: str,
    *,
    peek: str = "",
    timeout: float = PATIENT,
    env: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    argv: tuple[str, ...] = (),
    **options: Any,
) -> document_source.DocumentSource:
    command = command_source.Command(
        argv or python(program),
        pathlib.Path(),
        python(peek) if peek else (),
        timeout,
        env or {},
        os.environ if environ is None else environ,
    )
    fetcher = command_source.CommandFetcher(command, "hr")
    return document_source.DocumentSource("command", "hr", fetcher, document_reader.DocumentOptions(**options))


def printing(text: str, *, then: str = "") -> str:
    return f"import sys; sys.stdout.write({text!r}); sys.stdout.flush(); {then}"


async def failure(reading: document_source.DocumentSource, code: str) -> str:
    with pytest.raises(SourceError) as caught:
        await reading.read()
    assert caught.value.code == code
    assert SECRET not in f"{caught.value!r} {caught.value.__context__!r} {reading!r}"
    return caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "driver,fleet\na@b,Paris\n",
        "\ufeffdriver;fleet\r\na@b;Paris\r\n",
        '{"fleets": {"Paris": ["a@b"]}}',
        ' \n{"fleets": {"Paris": ["a@b"]}}\n',
        "fleets:\n  Paris: [a@b]\n",
        "# drivers\nfleets:\n  Paris: [a@b]\n",
        "---\nfleets:\n  Paris: [a@b]\n",
        '[fleets]\nParis = ["a@b"]\n',
    ],
)
async def test_the_format_is_that_in_which_the_output_begins(text: str) -> None:
    reading = await source(f"import sys; sys.stdout.buffer.write({text.encode()!r})").read()
    assert [(str(row.driver), str(row.fleet)) for row in reading.rows] == [("a@b", '"Paris"')]
    assert (reading.source.kind, reading.source.name) == ("command", "hr")
    assert reading.source.proof == ("syntax" if '{"' in text else "exit_code")


async def test_it_runs_in_the_folder_of_the_settings(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "export"
    script.write_text("#!/bin/sh\ncat document\n")
    script.chmod(0o755)
    (tmp_path / "document").write_text(DOCUMENT)
    command = command_source.Command(("./export",), tmp_path)
    fetched = await command_source.CommandFetcher(command, "hr").fetch()
    assert fetched.documents[0].data == DOCUMENT.encode()


class TestWhatIsNotWhole:
    async def test_whole_output_with_a_failure_is_an_error(self) -> None:
        message = await failure(source(printing(DOCUMENT, then="sys.exit(1)")), "source_incomplete")
        assert message == "hr: the command ended with exit code 1"

    async def test_the_last_line_of_stderr_says_why(self) -> None:
        program = "import sys; sys.exit('no\\x1b[31m\\nconnection to the database')"
        message = await failure(source(program), "source_incomplete")
        assert message.endswith("exit code 1, after: connection to the database")

    async def test_a_command_that_is_killed_is_an_error(self) -> None:
        program = printing(DOCUMENT, then="import os; os.kill(os.getpid(), 9)")
        assert "was ended by signal 9" in await failure(source(program), "source_incomplete")

    async def test_half_a_document_is_an_error_wherever_it_is_cut(self) -> None:
        for cut in range(1, len(DOCUMENT), 4):
            await failure(source(printing(DOCUMENT[:cut])), "source_invalid")

    async def test_an_output_that_lacks_its_trailer_is_incomplete(self) -> None:
        checks = completeness.Completeness(trailer="#END")
        whole = "driver,fleet\na@b,Paris\n#END\n"
        assert len((await source(printing(whole), checks=checks).read()).rows) == 1
        for cut in range(1, len(whole) - 1, 4):
            await failure(source(printing(whole[:cut]), checks=checks), "source_incomplete")

    async def test_no_output_is_empty(self) -> None:
        await failure(source("pass"), "source_empty")

    @pytest.mark.parametrize("document", [DOCUMENT, "driver,fleet\na@b,Paris\n", "fleets:\n  Paris: [a@b]\n"])
    @pytest.mark.parametrize("warning", ["Warning: old client", "old client, please update", "old client"])
    async def test_a_warning_in_the_output_is_an_error_that_quotes_it(self, warning: str, document: str) -> None:
        message = await failure(source(printing(f"{warning}\n{document}")), "source_invalid")
        assert f'hr: the output begins with "{warning}": the command must print the document' in message

    async def test_a_warning_on_stderr_is_none(self) -> None:
        reading = await source(printing(DOCUMENT, then="sys.stderr.write('old client\\n' * 100_000)")).read()
        assert len(reading.rows) == 1


class TestLimits:
    async def test_an_output_without_end_is_too_large(self) -> None:
        program = "import sys\nwhile True: sys.stdout.write('a@b,c\\n' * 10_000)"
        assert "is larger than 65536 KiB" in await failure(source(program), "source_too_large")

    async def test_an_output_of_65_mib_is_too_large(self) -> None:
        program = f"import sys; sys.stdout.write('a' * {positions.MAX_BYTES + (1 << 20)})"
        await failure(source(program), "source_too_large")

    async def test_a_command_that_hangs_ends_at_its_deadline(self) -> None:
        message = await failure(
            source(printing(DOCUMENT, then="import time; time.sleep(600)"), timeout=0.5), "source_timeout"
        )
        assert "timeout_seconds = 0.5" in message

    async def test_a_command_that_ignores_signals_ends_too(self) -> None:
        ignoring = "import signal, time; signal.signal(15, signal.SIG_IGN); signal.signal(2, signal.SIG_IGN); "
        await failure(source(f"{ignoring} time.sleep(600)", timeout=0.5), "source_timeout")

    @pytest.mark.parametrize("argv", [("/nowhere/at-all",), ("/",), ("a\0b",)])
    async def test_a_command_that_cannot_be_run_is_an_error(self, argv: tuple[str, ...]) -> None:
        with pytest.raises(SourceError, match="the command cannot be run"):
            await source("", argv=argv).read()


def has_ended(pid: int) -> bool:
    """Return whether a process is gone, or a zombie that waits for init to collect it."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def children() -> set[int]:
    """Return the processes that this one started and has not collected."""
    found = set[int]()
    for path in pathlib.Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended
            found |= set(map(int, path.read_text().split()))
    return found


def written(path: pathlib.Path) -> str:
    return path.read_text() if path.exists() else ""


class TestGrandchildren:
    """The shell starts one in the background, and writes its id to a file."""

    def running(self, path: pathlib.Path, then: str, **source_options: Any) -> document_source.DocumentSource:
        return source("", argv=("sh", "-c", f"sleep 600 & echo $! >{path}; {then}"), **source_options)

    async def until(self, condition: Callable[[], object]) -> None:
        with anyio.fail_after(PATIENT):
            while not condition():
                await anyio.lowlevel.checkpoint()

    async def test_one_that_outlives_the_timeout_is_gone(self, tmp_path: pathlib.Path) -> None:
        await failure(self.running(tmp_path / "pid", "wait", timeout=3), "source_timeout")
        pid = int(written(tmp_path / "pid"))
        await self.until(lambda: has_ended(pid))

    async def test_one_that_outlives_the_command_is_gone(self, tmp_path: pathlib.Path) -> None:
        """It does not have stdout open, so the document is complete."""
        reading = await source(
            "", argv=("sh", "-c", f"sleep 600 >/dev/null & echo $! >{tmp_path / 'pid'}; echo '{DOCUMENT}'")
        ).read()
        assert len(reading.rows) == 1
        pid = int(written(tmp_path / "pid"))
        await self.until(lambda: has_ended(pid))

    @pytest.mark.parametrize("anyio_backend", [("trio", {"clock": trio.testing.MockClock()})])
    async def test_one_that_has_stdout_open_and_prints_nothing_is_gone_after_a_while(
        self, tmp_path: pathlib.Path
    ) -> None:
        reading = self.running(tmp_path / "pid", f"echo '{DOCUMENT}'", timeout=10_000)
        rows: list[int] = []

        async def read() -> None:
            rows.append(len((await reading.read()).rows))

        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await self.until(lambda: written(tmp_path / "pid").endswith("\n"))
            pid = int(written(tmp_path / "pid"))
            assert not has_ended(pid)
            while not rows:
                clock.jump(0.01)
                await anyio.lowlevel.checkpoint()
        assert rows == [1]
        await self.until(lambda: has_ended(pid))

    async def test_one_of_a_cancelled_reading_is_gone(self, tmp_path: pathlib.Path) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.running(tmp_path / "pid", "wait").read)
            await self.until(lambda: written(tmp_path / "pid").endswith("\n"))
            tasks.cancel_scope.cancel()
        pid = int(written(tmp_path / "pid"))
        await self.until(lambda: has_ended(pid))

    async def test_one_of_a_reading_that_is_cancelled_while_its_command_starts_is_gone(
        self, tmp_path: pathlib.Path
    ) -> None:
        """The event loop stands still until the grandchild runs, so for asyncio the command has not started by then."""
        before = children()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.running(tmp_path / "pid", "wait").read)
            await self.until(lambda: children() - before)
            (started,) = children() - before
            while not written(tmp_path / "pid").endswith("\n"):
                assert not has_ended(started)
            tasks.cancel_scope.cancel()
        pid = int(written(tmp_path / "pid"))
        await self.until(lambda: has_ended(pid))


class TestEnvironment:
    async def test_no_key_and_no_secret_of_ours_is_in_it(self) -> None:
        environ = {
            "PATH": os.environ["PATH"],
            "CHARGE_API_KEY": "ch_sk_test_x",
            "CHARGE_API_KEY_FILE": "/run/key",
            "CHARGE_API_KEY__ACME": "x",
            "FLEET_SYNC_STATUS_TOKEN": "t" * 20,
            "FLEET_SYNC_NOTIFY__URL": "https://hooks.example.com/x",
            "OTHER": "a ch_sk_live_x",
            "KEPT": "1",
        }
        program = (
            "import json; e = open('/proc/self/environ').read().split('\\0'); "
            "print(json.dumps({'fleets': {name or 'end': [] for name in e}}))"
        )
        reading = await source(program, environ=environ, env={"ADDED": "2"}).read()
        names = {str(entry.fleet).strip('"') for entry in reading.fleets} - {"end"}
        assert {name for name in names if not name.startswith(("PATH=", "LC_"))} == {"KEPT=1", "ADDED=2"}

    async def test_the_values_of_env_are_in_no_error(self) -> None:
        program = "import os, sys; sys.exit('login of ' + os.environ['PASSWORD'] + ' failed')"
        message = await failure(source(program, env={"PASSWORD": SECRET}), "source_incomplete")
        assert "login of [secret] failed" in message

    @pytest.mark.parametrize(
        "output",
        [
            "f'connected with {secret}\\ndriver,fleet\\n'",
            "f'driver,{secret}\\na@b,Paris\\n'",
            "f'driver,fleet\\n{secret},Paris\\n'",
            "f'driver,fleet,{\"x\" * 50}{secret}\\n'",
            "f'{\"x\" * 4090}{secret}\\n'",
            "f'{\"x\" * 50}{secret}\\n'",
            "f'fleets: {secret}\\n'",
            "f'{{\"{secret}\": 1}}'",
        ],
    )
    async def test_they_are_in_no_message_about_the_output(self, output: str) -> None:
        program = f"import os; secret = os.environ['PASSWORD']; print({output}, end='')"
        message = await failure(source(program, env={"PASSWORD": SECRET}), "source_invalid")
        assert SECRET[:4] not in message

    @pytest.mark.parametrize("before", [180, 185, 195, 199])
    async def test_a_line_of_stderr_is_shortened_without_the_beginning_of_one(self, before: int) -> None:
        program = f"import os, sys; sys.exit('x' * {before} + os.environ['PASSWORD'])"
        message = await failure(source(program, env={"PASSWORD": SECRET}), "source_incomplete")
        assert SECRET[:4] not in message

    async def test_neither_is_a_line_of_one_that_has_several(self) -> None:
        program = "import os, sys; sys.exit(os.environ['PRIVATE_KEY'])"
        message = await failure(source(program, env={"PRIVATE_KEY": f"BEGIN\n{SECRET}\n"}), "source_incomplete")
        assert message.endswith("after: [secret]")

    async def test_short_values_do_not_garble_messages(self) -> None:
        message = await failure(source("print('driver,fleet,Cell 1')", env={"LANG": "C", "N": "1"}), "source_invalid")
        assert 'unknown column "Cell 1"' in message


class TestPeek:
    async def test_it_changes_with_what_the_command_for_it_prints(self) -> None:
        one, same, other = (source("", peek=f"print({text!r})") for text in ("1", "1", "2"))
        assert await one.peek() == await same.peek() != await other.peek()

    async def test_without_a_command_there_is_no_cheap_revision(self) -> None:
        assert await source("raise SystemExit(1)").peek() is None

    @pytest.mark.parametrize("peek", ["pass", "print('1'); raise SystemExit(1)", "print('1' * 100_000)"])
    async def test_one_that_says_nothing_fails_or_says_too_much_is_an_error(self, peek: str) -> None:
        with pytest.raises(SourceError):
            await source("", peek=peek).peek()
