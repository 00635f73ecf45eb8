"""How well the rate limiter finds the limit of a real nginx, whose `limit_req` is in front of many an API.

Invariant: the requests go through the program's own client. Neighbours: `tests.core.rate_model` simulates the same
server, `tests.support.nginx_server` starts the real one.
"""

import contextlib
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Iterator

import msgspec

from benchmarks import account
from tests.support import nginx_server
from worker.core.model import report
from worker.core.model.identifiers import DriverId
from worker.engine import concurrency

RATE = 50
BURST = 10
REQUESTS = 320
CEILING = 2_000.0
WORKERS = 32

_DRIVER = DriverId("drv_" + "0" * 32)
_LIMITED = "limit_req_zone $server_port zone={zone}:1m rate={rate}r/s;"
_LOCATION = "location /{zone}/ {{ limit_req zone={zone}{burst}; try_files /driver.json =404; }}"


@contextlib.contextmanager
def serving(rate: int = RATE) -> Iterator[dict[str, str]]:
    """Serve one driver behind two limits; yield the base URLs by name."""
    http = "".join(_LIMITED.format(zone=zone, rate=rate) for zone in ("burst", "even")) + "limit_req_status 429;"
    server = _LOCATION.format(zone="burst", burst=f" burst={BURST} nodelay") + _LOCATION.format(zone="even", burst="")
    with tempfile.TemporaryDirectory(prefix="fleet-sync-benchmark-") as name:
        (folder := pathlib.Path(name)).chmod(0o755)
        (folder / "www").mkdir()
        document = {"id": _DRIVER, "object": "driver", "fleets": [], "name": "", "email": "", "metadata": {}}
        (folder / "www" / "driver.json").write_bytes(msgspec.json.encode(document))
        with nginx_server.running(folder, http=http, server=server) as port:
            yield {zone: f"http://127.0.0.1:{port}/{zone}" for zone in ("burst", "even")}


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """The seconds from the second request on, the requests over the wire, and the rate at the end."""

    seconds: float
    traffic: report.Traffic
    rate: float


async def read(url: str, requests: int = REQUESTS) -> Reading:
    """Read the driver this many times. The first request also imports what httpx needs, and is not timed."""
    executor = account.executor(ceiling=CEILING, burst=BURST, adaptive=True)
    async with account.charge(url, connections=WORKERS) as charge:

        async def one(_: int) -> None:
            await executor.execute(lambda: charge.driver(_DRIVER))

        await one(0)
        began = time.perf_counter()
        await concurrency.run_bounded(one, range(1, requests), limit=WORKERS)
        return Reading(time.perf_counter() - began, executor.traffic, 1 / executor.seconds_between_turns)
