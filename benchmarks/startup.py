"""How long a command takes to start, compared with Python importing the libraries it is built on.

Invariant: the commands take turns, each in its own process. Neighbours: `worker.cli` is what starts.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence

from benchmarks import results, server

DRIVERS = 300

_COMMAND = str(pathlib.Path(sys.executable).with_name("fleet-sync"))
_IMPORTS = (sys.executable, "-c", "import httpx, anyio, tenacity, structlog")


def figures(*, short: bool) -> Iterator[results.Figure]:
    """Measure, and yield the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="fleet-sync-benchmark-") as name,
        server.running(drivers=DRIVERS) as sandbox,
    ):
        environ = _prepared(pathlib.Path(name), sandbox.url)
        seconds = _turns(
            {"imports": _IMPORTS, "help": (_COMMAND, "--help"), "once": (_COMMAND, "once")},
            environ,
            rounds=7 if short else 25,
        )
    yield results.Figure("ms to import httpx, anyio, tenacity, structlog", f"{1000 * seconds['imports']:.0f}")
    yield results.at_most("--help over that", seconds["help"] / seconds["imports"], 1)
    yield results.at_most(f"once over that, in sync, {DRIVERS} drivers", seconds["once"] / seconds["imports"], 3)


def _prepared(folder: pathlib.Path, url: str) -> Mapping[str, str]:
    """Write the settings and a document that matches the sandbox; return the environment."""
    settings = folder / "fleet-sync.toml"
    settings.write_text(f'[charge]\nbase_url = "{url}"\n\n[[sources]]\npath = "membership.yaml"\n')
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLEET_SYNC_", "CHARGE_"))}
    environ |= {"CHARGE_API_KEY": server.KEY, "FLEET_SYNC_CONFIG": str(settings)}
    with (folder / "membership.yaml").open("w") as document:
        subprocess.run([_COMMAND, "export"], env=environ, stdout=document, stderr=subprocess.DEVNULL, check=True)
    return environ


def _turns(commands: Mapping[str, Sequence[str]], environ: Mapping[str, str], *, rounds: int) -> Mapping[str, float]:
    """Run each command once per round; return the median seconds without the first round."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each[1:]) for name, each in seconds.items()}
