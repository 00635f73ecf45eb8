"""Shutdown: the first reason counts, every run is stopped, and a deadline ends the drain."""

import functools
import os
import signal

import anyio
import pytest

from tests.support import clocks
from worker.core.model.errors import Stopped
from worker.engine import cancellation
from worker.service import shutdown

pytestmark = pytest.mark.anyio

FIRST, SECOND = Stopped("ended by SIGTERM", exit_code=143), Stopped("ended by SIGINT", exit_code=130)


def new_run(process_shutdown: shutdown.Shutdown) -> cancellation.Cancellation:
    return process_shutdown.new_cancellation(wake=lambda: None, clock=clocks.Still())


async def test_the_first_reason_is_kept_by_the_process_and_its_run() -> None:
    process_shutdown = shutdown.Shutdown()
    run = new_run(process_shutdown)
    process_shutdown.request_stop(FIRST)
    process_shutdown.request_stop(SECOND)
    assert process_shutdown.reason is FIRST
    assert run.reason is FIRST


async def test_a_stop_reaches_the_run_in_progress_and_its_rate_limiter() -> None:
    process_shutdown, woken = shutdown.Shutdown(), list[str]()
    run = process_shutdown.new_cancellation(wake=lambda: woken.append("limiter"), clock=clocks.Still())
    process_shutdown.request_stop(FIRST)
    assert run.reason is FIRST
    assert woken == ["limiter"]


async def test_a_run_that_begins_after_the_stop_is_stopped_from_the_start() -> None:
    process_shutdown = shutdown.Shutdown()
    process_shutdown.request_stop(FIRST)
    assert new_run(process_shutdown).reason is FIRST


async def test_without_a_run_there_is_nothing_to_abort() -> None:
    process_shutdown = shutdown.Shutdown()
    process_shutdown.abort_writes()
    assert process_shutdown.reason is None


async def _drain(signals: int, *, drain_seconds: float) -> float:
    """Receive SIGTERM while a write hangs, then more signals; return when the write was aborted."""
    process_shutdown, started = shutdown.Shutdown(), anyio.current_time()

    async def work() -> float:
        with new_run(process_shutdown).writing():
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGTERM)
                await process_shutdown.wait()
                await anyio.sleep(1)
            await anyio.sleep_forever()
        return anyio.current_time() - started

    with anyio.fail_after(1000):
        aborted = await shutdown.run_until_signal(process_shutdown, work, drain_seconds=lambda: drain_seconds)
    assert process_shutdown.reason is not None
    assert process_shutdown.reason.exit_code == 143
    return aborted


async def test_a_write_that_hangs_is_aborted_at_the_drain_deadline() -> None:
    assert await _drain(1, drain_seconds=25) == pytest.approx(25)


async def test_a_second_signal_aborts_at_once() -> None:
    assert await _drain(2, drain_seconds=25) == pytest.approx(1)


async def test_work_that_ends_in_time_is_not_aborted() -> None:
    process_shutdown = shutdown.Shutdown()

    async def work() -> str:
        with new_run(process_shutdown).writing():
            os.kill(os.getpid(), signal.SIGINT)
            await process_shutdown.wait()
            await anyio.sleep(20)
            return "the reply"

    assert await shutdown.run_until_signal(process_shutdown, work, drain_seconds=lambda: 25) == "the reply"
    assert process_shutdown.reason is not None
    assert process_shutdown.reason.exit_code == 130


async def _hang_up(*signals: signal.Signals, hangup: bool = True) -> tuple[float, shutdown.Shutdown]:
    """Receive SIGHUP while a write hangs, then more signals; return when the write was aborted."""
    process_shutdown, started = shutdown.Shutdown(), anyio.current_time()

    async def work() -> float:
        with new_run(process_shutdown).writing():
            for number in (signal.SIGHUP, *signals):
                os.kill(os.getpid(), number)
                await process_shutdown.wait()
                await anyio.sleep(1)
            await anyio.sleep_forever()
        return anyio.current_time() - started

    with anyio.fail_after(1000):
        aborted = await shutdown.run_until_signal(process_shutdown, work, drain_seconds=lambda: 25, hangup=hangup)
    return aborted, process_shutdown


async def test_a_job_whose_terminal_hangs_up_is_drained_whoever_sends_the_signal() -> None:
    """The system and the shell both send SIGHUP: the second one is no impatience."""
    aborted, process_shutdown = await _hang_up(signal.SIGHUP)
    assert aborted == pytest.approx(25)
    assert process_shutdown.reason is not None
    assert (process_shutdown.reason.exit_code, str(process_shutdown.reason)) == (129, "ended by SIGHUP")
    aborted, _ = await _hang_up(signal.SIGTERM)
    assert aborted == pytest.approx(1)


async def test_a_job_that_ignores_the_hangup_goes_on() -> None:
    """As below nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process_shutdown = shutdown.Shutdown()

    async def work() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await anyio.sleep(1)
        return "done"

    try:
        result = await shutdown.run_until_signal(process_shutdown, work, drain_seconds=lambda: 25, hangup=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (result, process_shutdown.reason) == ("done", None)


async def test_what_follows_a_run_ends_with_the_drain() -> None:
    process_shutdown = shutdown.Shutdown()

    async def work() -> float:
        started = anyio.current_time()
        os.kill(os.getpid(), signal.SIGTERM)
        await process_shutdown.unless_aborted(anyio.sleep_forever)
        return anyio.current_time() - started

    ended = await shutdown.run_until_signal(process_shutdown, work, drain_seconds=lambda: 25)
    assert ended == pytest.approx(25)
    await shutdown.Shutdown().unless_aborted(functools.partial(anyio.sleep, 60))
