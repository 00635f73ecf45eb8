"""Whole commands: the CPU time and peak memory of their process, against a peer in the same run.

Invariant: a command and its peer take turns, each in a process of its own, and only ratios of CPU time have goals: what
else runs on the machine slows both. Neighbours: `static_account` serves the accounts, `listing_peer` is a peer.
"""

import dataclasses
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from benchmarks import results, static_account
from tests.support import nginx_server

FEW, SOME, MANY, MOST = 300, 30_000, 300_000, 1_000_000
PACKAGES = "httpx, anyio, tenacity, structlog"

_FOLDER = pathlib.Path(__file__).parent.parent
_COMMAND = str(pathlib.Path(sys.executable).with_name("fleet-sync"))
_IMPORTS = (sys.executable, "-c", f"import {PACKAGES}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Usage:
    """The CPU seconds of a process that has ended, and its peak memory in MiB."""

    cpu: float
    mebibytes: float


def figures(*, short: bool) -> Iterator[results.Figure]:
    """Measure, and yield the figures."""
    if not nginx_server.PROGRAM.exists():
        yield results.Figure("not measured: nginx is not installed", "")
        return
    yield from _start(rounds=3 if short else 9)
    yield from _reading(rounds=1 if short else 5)
    for drivers, mebibytes in () if short else ((MANY, 200.0), (MOST, 384.0)):
        yield from _large(drivers, mebibytes)


def _start(*, rounds: int) -> Iterator[results.Figure]:
    with static_account.serving(FEW) as account:
        commands = {name: (_COMMAND, name) for name in ("once", "check", "--help")}
        used = _take_turns({"imports": _IMPORTS, **commands}, account, rounds=rounds)
    yield results.Figure(f"ms of CPU to import {PACKAGES}", f"{1000 * used['imports'].cpu:.0f}")
    for name, goal in (("once", 1.5), ("check", 1.2), ("--help", 0.35)):
        yield results.at_most(f"{name} of {FEW} drivers over that", used[name].cpu / used["imports"].cpu, goal)


def _reading(*, rounds: int) -> Iterator[results.Figure]:
    with static_account.serving(SOME) as account:
        used = _take_turns({"once": (_COMMAND, "once"), "peer": _peer(account)}, account, rounds=rounds)
    yield results.Figure(
        f"microseconds of CPU a driver, no-op once of {SOME:,}", f"{1e6 * used['once'].cpu / SOME:.0f}"
    )
    yield results.at_most("  over aiohttp, msgspec and a set difference", used["once"].cpu / used["peer"].cpu, 3)


def _large(drivers: int, mebibytes: float) -> Iterator[results.Figure]:
    with static_account.serving(drivers) as account:
        used = _take_turns({"once": (_COMMAND, "once"), "peer": _peer(account)}, account, rounds=1)
    yield results.at_most(f"MiB at its peak, no-op once of {drivers:,}", used["once"].mebibytes, mebibytes, form=".0f")
    yield results.Figure("  the peer", f"{used['peer'].mebibytes:.0f}")
    seconds = used["once"].cpu
    if drivers == MOST:
        yield results.at_most("  seconds of CPU", seconds, 30, form=".1f")
    else:
        yield results.Figure("  seconds of CPU", f"{seconds:.1f}")
    yield results.Figure("  over the peer", f"{seconds / used['peer'].cpu:.2f}")


def _peer(account: static_account.Account) -> Sequence[str]:
    return (sys.executable, "-m", "benchmarks.listing_peer", account.url, *map(str, account.documents))


def _take_turns(
    commands: Mapping[str, Sequence[str]], account: static_account.Account, *, rounds: int
) -> Mapping[str, _Usage]:
    """Run each command once per round; return the medians, without a first round if there are several."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLEET_SYNC_", "CHARGE_"))}
    environ |= {"CHARGE_API_KEY": static_account.KEY, "FLEET_SYNC_CONFIG": str(account.settings)}
    used: dict[str, list[_Usage]] = {name: [] for name in commands}
    for _ in range(rounds + 1 if rounds > 1 else 1):
        for name, command in commands.items():
            used[name].append(_run(command, environ))
    kept = {name: each[1:] or each for name, each in used.items()}
    return {
        name: _Usage(*(statistics.median(values) for values in zip(*map(dataclasses.astuple, each), strict=True)))
        for name, each in kept.items()
    }


def _run(command: Sequence[str], environ: Mapping[str, str]) -> _Usage:
    process = subprocess.Popen(command, env=environ, cwd=_FOLDER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return _Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
