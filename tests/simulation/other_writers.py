"""Writers other than fleet-sync: they change memberships at random, or right around our requests to a driver.

Invariant: they act only when the world calls them, so that the seed decides everything. Neighbours:
`simulated_process` calls them at fault points and around requests.
"""

import dataclasses
import json
import random

import httpx

from tests.simulation import audit
from worker.sandbox import app


@dataclasses.dataclass
class OtherWriters:
    """The people and programs that use the same account.

    `anytime` is the probability that one acts at a fault point, `around` that one acts on the driver of a request:
    right before a detach is sent, or after a GET or a write is answered.
    """

    account: audit.RecordedState
    sandbox: app.Sandbox
    chance: random.Random
    seen: audit.Audit
    anytime: float
    around: float

    def maybe_act(self) -> None:
        """Perhaps change something, with the probability `anytime`."""
        self.sandbox.deliver_late()  # before anything else changes: what is due happened earlier
        if self.anytime and self.chance.random() < self.anytime:
            self.act()

    def maybe_act_before(self, request: httpx.Request) -> None:
        """Perhaps change the driver of a detach that is about to be sent, after its proof."""
        if request.url.path.endswith("/detach"):
            self._maybe_act_on(request)

    def maybe_act_after(self, request: httpx.Request) -> None:
        """Perhaps change the driver of a request that was answered."""
        if request.method == "POST" or request.url.path.count("/") == 3:
            self._maybe_act_on(request)

    def act(self) -> None:
        """Change something at random."""
        drivers = sorted(self.account.drivers)
        if not drivers:
            return
        driver = self.chance.choice(drivers)
        what = self.chance.random()
        if what < 0.03:
            self.seen.note(audit.OTHERS, f"deletes {audit.short(driver)}")
            self.account.delete(driver)
        elif what < 0.06:
            self._swap_addresses(driver, self.chance.choice(drivers))
        else:
            self.account.toggle((driver, self.chance.choice(sorted(self.account.fleets))))

    def _maybe_act_on(self, request: httpx.Request) -> None:
        driver = request.url.path.split("/")[3]
        if not self.around or driver not in self.account.drivers or self.chance.random() >= self.around:
            return
        self.sandbox.deliver_late()
        self.seen.counts["changes around our requests"] += 1
        ours = json.loads(request.content)["fleet"] if request.content else None
        elsewhere = [fleet for fleet in self.account.fleets_of(driver) if fleet != ours]
        fleets = elsewhere if elsewhere and self.chance.random() < 0.8 else sorted(self.account.fleets)
        self.account.toggle((driver, self.chance.choice(fleets)))

    def _swap_addresses(self, one: str, other: str) -> None:
        self.seen.note(audit.OTHERS, f"swaps the addresses of {audit.short(one)} and {audit.short(other)}")
        address = self.account.drivers[other].email
        self.account.change_driver(other, email=self.account.drivers[one].email)
        self.account.change_driver(one, email=address)
        self.seen.directory(self.account)
