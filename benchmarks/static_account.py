"""A large account that nginx serves from files: a server that takes next to nothing of the client's cores.

Invariant: the pages hold whole objects as Charge documents them, and the sources ask for exactly what is there, so that
a run has nothing to do. Neighbours: `commands` measures commands on it, `tests.support.nginx_server` starts nginx.
"""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator

import msgspec

from tests.support import nginx_server

KEY = "ch_sk_test_benchmark"
PAGE = 100
FLEETS = 10
ROWS = 500_000  # in a document, which may not have more than 64 MiB

_SERVER = """
    types {{ application/json json; }}
    location = /v1/fleets {{ try_files /fleets.json =404; }}
    location = /v1/drivers {{ try_files /drivers-$arg_fleet-$arg_page.json =404; }}
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """Where it is: the base URL, the settings of fleet-sync, the documents, and the number of pages."""

    url: str
    settings: pathlib.Path
    documents: tuple[pathlib.Path, ...]
    pages: int


@contextlib.contextmanager
def serving(drivers: int) -> Iterator[Account]:
    """Serve an account of so many drivers in ten fleets."""
    with tempfile.TemporaryDirectory(prefix="fleet-sync-benchmark-") as name:
        (folder := pathlib.Path(name)).chmod(0o755)
        (folder / "www").mkdir()
        with nginx_server.running(folder, server=_SERVER.format()) as port:
            url = f"http://127.0.0.1:{port}/v1"
            pages = _write_pages(folder / "www", url, drivers)
            yield Account(url, *_write_settings(folder, url, drivers), pages)


def _write_pages(folder: pathlib.Path, url: str, drivers: int) -> int:
    _write_page(folder / "fleets.json", [_fleet(number, drivers) for number in range(FLEETS)], None)
    pages = 0
    for fleet in range(FLEETS):
        numbers = range(fleet, drivers, FLEETS)
        parts = [numbers[first : first + PAGE] for first in range(0, len(numbers), PAGE)]
        pages += len(parts)
        for page, part in enumerate(parts):
            following = f"{url}/drivers?fleet={fleet_id(fleet)}&limit={PAGE}&page={page + 1}"
            path = folder / f"drivers-{fleet_id(fleet)}-{page or ''}.json"
            _write_page(path, [_driver(number) for number in part], following if page + 1 < len(parts) else None)
    return pages


def _write_page(path: pathlib.Path, objects: list[dict[str, object]], following: str | None) -> None:
    path.write_bytes(msgspec.json.encode({"data": objects, "next_page_url": following, "previous_page_url": None}))


def _write_settings(folder: pathlib.Path, url: str, drivers: int) -> tuple[pathlib.Path, tuple[pathlib.Path, ...]]:
    documents = []
    for number, first in enumerate(range(0, drivers, ROWS)):
        numbers = range(first, min(drivers, first + ROWS))
        documents.append(folder / f"membership-{number}.csv")
        rows = (f"{driver_id(each)},{fleet_id(each % FLEETS)}\n" for each in numbers)
        with documents[-1].open("w") as file:  # not as one text: a command that is started counts its parent's memory
            file.write("driver,fleet\n")
            file.writelines(rows)
    path = folder / "fleet-sync.toml"
    limit = "[rate_limit]\nrequests_per_second = 10000\nburst = 1000\n"
    sources = "".join(f'\n[[sources]]\npath = "{document.name}"\n' for document in documents)
    path.write_text(f'[charge]\nbase_url = "{url}"\n\n{limit}{sources}')
    return path, tuple(documents)


def driver_id(number: int) -> str:
    """Return the id of a driver."""
    return f"drv_{number * 2654435761 % 2**64:032X}"


def fleet_id(number: int) -> str:
    """Return the id of a fleet."""
    return f"flt_{number + 1:032X}"


def _fleet(number: int, drivers: int) -> dict[str, object]:
    return {
        "id": fleet_id(number),
        "object": "fleet",
        "name": f"Fleet {number}",
        "status": "active",
        "timezone": "Europe/Paris",
        "total_drivers": len(range(number, drivers, FLEETS)),
        "metadata": {},
    }


def _driver(number: int) -> dict[str, object]:
    preferences = {
        "charging_speed": "fast",
        "currency": "eur",
        "default_payment_method": None,
        "max_price_per_kwh": None,
        "notifications": True,
        "preferred_charging_stations": [f"chst_{number:032X}"],
        "preferred_cpos": ["ionity"],
    }
    return {
        "id": driver_id(number),
        "object": "driver",
        "created": "2025-01-01T00:00:00.000Z",
        "email": f"driver.{number}@example.com",
        "fleets": [fleet_id(number % FLEETS)],
        "license_number": None,
        "metadata": {"employee_id": f"{number:06}"},
        "name": f"Driver {number}",
        "phone": None,
        "policy_ids": [],
        "preferences": preferences,
        "status": "active",
        "updated": "2025-06-01T00:00:00.000Z",
        "vehicles": [f"veh_{number:032X}"],
        "wallet_balance": 1875,
    }
