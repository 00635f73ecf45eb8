"""The peer of a run that finds nothing to do: aiohttp, msgspec and the difference of two sets.

Invariant: it does what such a script does and no more: it lists the fleets side by side, one page after the other in
each, and decodes ids and fleets alone. Neighbours: `commands` runs it as a process of its own.
"""

import asyncio
import csv
import pathlib
import sys
from collections.abc import Iterable

import aiohttp
import msgspec

CONNECTIONS = 32


class _Driver(msgspec.Struct):
    id: str
    fleets: list[str]


class _Drivers(msgspec.Struct):
    data: list[_Driver]
    next_page_url: str | None


class _Fleet(msgspec.Struct):
    id: str


class _Fleets(msgspec.Struct):
    data: list[_Fleet]


def _wanted(documents: Iterable[str]) -> set[tuple[str, str]]:
    """Return the memberships in some CSV documents."""
    wanted: set[tuple[str, str]] = set()
    for document in documents:
        with pathlib.Path(document).open() as file:
            wanted.update((driver, fleet) for driver, fleet in csv.reader(file))
    return wanted - {("driver", "fleet")}


async def _differences(url: str, *documents: str) -> tuple[int, int]:
    """Return how many memberships are missing in Charge, and how many are too many."""
    wanted = _wanted(documents)
    held: set[tuple[str, str]] = set()
    decode = msgspec.json.Decoder(_Drivers).decode
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def page(address: str) -> bytes:
            async with session.get(address) as answer:
                answer.raise_for_status()
                return await answer.read()

        async def list_fleet(fleet: str) -> None:
            following: str | None = f"{url}/drivers?fleet={fleet}&limit=100"
            while following:
                found = decode(await page(following))
                held.update((driver.id, each) for driver in found.data for each in driver.fleets)
                following = found.next_page_url

        fleets = msgspec.json.decode(await page(f"{url}/fleets?limit=100"), type=_Fleets).data
        await asyncio.gather(*(list_fleet(fleet.id) for fleet in fleets))
    return len(wanted - held), len(held - wanted)


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(_differences(*sys.argv[1:]))}\n")
