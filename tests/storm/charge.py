"""One imitation of Charge for all accounts, which it tells apart by their keys, and the documents of their operators.

Invariant: every write that arrives is recorded with its idempotency key, before it has an effect. Neighbours:
`worker.sandbox` imitates one account, `judge` judges what was recorded.
"""

import json
import pathlib
import random
import time
from collections.abc import Iterable

from tests.storm import judge
from worker.sandbox import app, http_types, quirks, state

FLEETS = 3
SETTINGS = '[[sources]]\npath = "documents/{name}.json"\n'

UNAVAILABLE = 503

_WRITES = ("/attach", "/detach")


class Account:
    """An account in Charge, and the document that says what its operator wants."""

    def __init__(self, name: str, folder: pathlib.Path, *, drivers: int, latency: float) -> None:
        """Populate the account, and write the document and the key into the folder."""
        self.name = name
        self.key = f"ch_sk_test_{name}"
        self.state = state.SandboxState(seed=hash_of(name))
        self.fleets = [self.state.add_fleet(name=f"Fleet {number}") for number in range(FLEETS)]
        self.wanted: dict[str, str] = {}
        for number in range(drivers):
            fleet = self.fleets[number % FLEETS]
            self.wanted[self.state.add_driver(email=f"{number}@{name}.example", fleets=[fleet])] = fleet
        slow = quirks.Quirks(latency_seconds=latency)
        self.charge = app.Sandbox(self.state, quirks=slow, key=self.key, record=False)
        self._document = folder / "documents" / f"{name}.json"
        self._publish()
        (folder / "keys" / name).write_text(self.key)

    def move(self, rng: random.Random, count: int) -> None:
        """Want some drivers in other fleets, and publish that."""
        for driver in rng.sample(sorted(self.wanted), min(count, len(self.wanted))):
            self.wanted[driver] = rng.choice([fleet for fleet in self.fleets if fleet != self.wanted[driver]])
        self._publish()

    def wrong(self) -> int:
        """Return how many memberships are not as they are wanted."""
        wanted = set(self.wanted.items())
        actual = {(driver, fleet) for driver in self.wanted for fleet in self.state.fleets_of(driver)}
        return len(wanted ^ actual)

    def _publish(self) -> None:
        members = {
            fleet: {"drivers": [driver for driver, wanted in self.wanted.items() if wanted == fleet]}
            for fleet in self.fleets
        }
        written = self._document.with_suffix(".new")
        written.write_text(json.dumps({"fleets": members}))
        written.rename(self._document)


class Charges:
    """The accounts as one ASGI application."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        """Take the accounts. `requests` counts all requests, `moments` has when those of each account arrived.

        While `down` is set, every request is answered with 503.
        """
        self.accounts = {account.name: account for account in accounts}
        self.arrivals: list[judge.Arrival] = []
        self.requests = 0
        self.moments: dict[str, list[float]] = {name: [] for name in self.accounts}
        self.down = False
        self._by_key = {f"Bearer {account.key}".encode(): account for account in self.accounts.values()}

    async def __call__(self, scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        """Answer as the account of the key does."""
        headers = dict(scope["headers"])
        self.requests += 1
        account = self._by_key.get(headers.get(b"authorization", b""))
        if account is None:
            await _refuse(send, 401)
            return
        self.moments[account.name].append(time.time())
        if scope["method"] == "POST" and scope["path"].endswith(_WRITES):
            key = headers.get(b"idempotency-key", b"").decode("latin-1")
            self.arrivals.append(judge.Arrival(account.name, key, time.time()))
        if self.down:
            await _refuse(send, UNAVAILABLE)
            return
        await account.charge(scope, receive, send)

    def wrong(self) -> dict[str, int]:
        """Return the accounts whose memberships are not as they are wanted, with how many."""
        return {name: found for name, account in self.accounts.items() if (found := account.wrong())}


def make_folders(folder: pathlib.Path) -> None:
    """Make the folders for documents and keys."""
    for name in ("documents", "keys"):
        (folder / name).mkdir()


async def _refuse(send: http_types.Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def hash_of(name: str) -> int:
    """Return a number that is the same for a name in every process."""
    return int.from_bytes(name.encode()[-6:], "big")
