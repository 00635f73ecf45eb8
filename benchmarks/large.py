"""Large accounts: a document of many rows, and a list of many drivers, each against the plainest way to read it.

Invariant: every measurement is a process of its own, so that its peak of memory is its own. Neighbours:
`worker.sources` and `worker.engine.reader` are what is measured.
"""

import csv
import gc
import json
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import anyio
import httpx
import yaml

from benchmarks import account, results, server
from tests.support import memory_journal
from worker.cli import main as main_command
from worker.core.model.actual import Actual
from worker.engine import reader
from worker.sources import document_source, file_source

_FOLDER = pathlib.Path(__file__).parent.parent


def figures(*, short: bool) -> Iterator[results.Figure]:
    """Measure, and yield the figures."""
    rows, drivers = (10_000, 5_000) if short else (100_000, 100_000)
    with tempfile.TemporaryDirectory(prefix="fleet-sync-benchmark-") as name:
        for suffix, goal in (("yaml", 2.0), ("json", 15.0), ("csv", 8.0)):
            path = document(pathlib.Path(name), rows, suffix)
            yield from _compared(f"{rows:,} rows of {suffix.upper()}", "document", "parser", str(path), goal=goal)
    with server.running(drivers=drivers) as sandbox:
        yield from _compared(f"{drivers:,} drivers over HTTP", "directory", "plain", sandbox.url)


def _compared(what: str, ours: str, peer: str, argument: str, *, goal: float | None = None) -> Iterator[results.Figure]:
    seconds, mebibytes = _measured(ours, argument)
    peer_seconds, peer_mebibytes = _measured(peer, argument)
    yield results.Figure(f"{what}: seconds of CPU", f"{seconds:.2f}")
    over = "  over the plainest way"
    ratio = seconds / peer_seconds
    yield results.Figure(over, f"{ratio:.2f}") if goal is None else results.at_most(over, ratio, goal)
    yield results.Figure("  MiB at its peak", f"{mebibytes:.0f}")
    yield results.Figure("  MiB over the plainest way", f"{mebibytes / max(peer_mebibytes, 1.0):.2f}")


def _measured(name: str, argument: str) -> tuple[float, float]:
    """Return the CPU seconds of a piece of work in its own process, and the MiB by which its peak memory grows."""
    program = [sys.executable, "-m", "benchmarks.large", name, argument]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True, cwd=_FOLDER)
    seconds, mebibytes = done.stdout.split()
    return float(seconds), float(mebibytes)


def document(folder: pathlib.Path, rows: int, suffix: str) -> pathlib.Path:
    """Write a document with this many rows."""
    people, _ = server.people(rows)
    fleets = list(people.fleets)
    members = {fleet: list(people.drivers)[number :: len(fleets)] for number, fleet in enumerate(fleets)}
    path = folder / f"membership.{suffix}"
    match suffix:
        case "json":
            path.write_text(json.dumps({"fleets": members}))
        case "csv":
            lines = [f"{driver},{fleet}" for fleet, drivers in members.items() for driver in drivers]
            path.write_text("\n".join(["driver,fleet", *lines, ""]))
        case _:
            lines = [line for fleet, drivers in members.items() for line in (f"  {fleet}:", *_items(drivers))]
            path.write_text("\n".join(["fleets:", *lines, ""]))
    return path


def _items(drivers: list[str]) -> Iterator[str]:
    return (f"    - {driver}" for driver in drivers)


# --- what is measured, each in a process of its own ----------------------------------------------------------


def read_document(path: str) -> object:
    """Read the document as a source does."""
    fetcher = file_source.FileFetcher(pathlib.Path(path), path)
    return anyio.run(document_source.DocumentSource("file", path, fetcher).read)


def _parse_document(path: str) -> object:
    """Parse the document with the usual library, without any check."""
    with pathlib.Path(path).open() as file:
        match path.rpartition(".")[2]:
            case "json":
                return json.load(file)
            case "csv":
                return list(csv.reader(file))
            case _:
                return yaml.load(file, Loader=yaml.CSafeLoader)


def _read_directory(url: str) -> object:
    return anyio.run(_export, url)


async def _export(url: str) -> Actual:
    async with account.charge(url, connections=32) as charge:
        executor = account.executor(ceiling=1e6, burst=1_000, adaptive=False)
        journal = memory_journal.MemoryJournal()
        run = account.context(charge, executor=executor, journal=journal, concurrency=32)
        return await reader.Reader(run).export()


def _read_plainly(url: str) -> object:
    return anyio.run(_pages, url)


async def _pages(url: str) -> dict[str, set[str]]:
    """List all drivers with a plain client, and keep a set of fleets for each."""
    members: dict[str, set[str]] = {}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {server.KEY}"}) as api:
        following = f"{url}/drivers?limit=100"
        while following:
            page = (await api.get(following)).raise_for_status().json()
            members |= {driver["id"]: set(driver["fleets"]) for driver in page["data"]}
            following = page["next_page_url"]
    return members


_WORK: dict[str, Callable[[str], object]] = {
    "document": read_document,
    "parser": _parse_document,
    "directory": _read_directory,
    "plain": _read_plainly,
}


def main(name: str, argument: str) -> None:
    """Do one piece of work, and print its CPU seconds and the MiB by which peak memory grew."""
    gc.set_threshold(main_command.OBJECTS_BETWEEN_COLLECTIONS)
    before, began = peak(), time.process_time()
    kept = _WORK[name](argument)
    sys.stdout.write(f"{time.process_time() - began} {peak() - before}\n")
    del kept


def peak() -> float:
    """Return the peak memory of this process so far. Except on Linux it may include the parent's."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(found[1]) / 1024 if found else 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
