"""A discrete-event simulation of a client that uses `core.pacing`, and of servers with various rate limits."""

import collections
import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable
from typing import Protocol

from worker.core.pacing import rate_estimator, token_bucket

_ENOUGH = 1e-9


class Server(Protocol):
    """A server with a rate limit."""

    def accepts(self, now: float) -> bool:
        """Return whether a request that arrives now is accepted; else it is answered with 429."""
        ...


class TokenBucket:
    """Accepts `limit` requests a second in the long run, and `depth` at once."""

    def __init__(self, limit: float, depth: float) -> None:
        self.limit = limit
        self._depth = self._tokens = depth
        self._at = 0.0

    def accepts(self, now: float) -> bool:
        self._tokens = min(self._depth, self._tokens + (now - self._at) * self.limit)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class FixedWindow:
    """Accepts `limit` requests a second in each window, which begins by the server's clock."""

    def __init__(self, limit: float, *, ahead: float = 0.37, seconds: float = 1.0) -> None:
        self._most = limit * seconds
        self._ahead = ahead
        self._seconds = seconds
        self._window = -1
        self._count = 0

    def accepts(self, now: float) -> bool:
        if (window := int((now + self._ahead) / self._seconds)) != self._window:
            self._window, self._count = window, 0
        self._count += 1
        return self._count <= self._most


class SlidingWindow:
    """Accepts `limit` requests a second in any window."""

    def __init__(self, limit: float, *, seconds: float = 1.0) -> None:
        self._most = limit * seconds
        self._seconds = seconds
        self._times: collections.deque[float] = collections.deque()

    def accepts(self, now: float) -> bool:
        while self._times and self._times[0] <= now - self._seconds:
            self._times.popleft()
        if len(self._times) >= self._most:
            return False
        self._times.append(now)
        return True


class LimitReq:
    """Nginx's `limit_req` with `nodelay`: a leaky bucket that counts thousandths of requests and whole milliseconds.

    `burst` requests may be ahead of the rate; without any, two requests may never be closer than its interval.
    """

    def __init__(self, limit: int, burst: int = 0) -> None:
        self._limit = limit
        self._burst = 1000 * burst
        self._excess = 0
        self._last: int | None = None

    def accepts(self, now: float) -> bool:
        moment = int(1000 * now)
        if self._last is None:
            self._last = moment
            return True
        passed = moment - self._last
        excess = max(0, self._excess - self._limit * passed + 1000)
        if excess > self._burst:
            return False
        self._excess, self._last = excess, moment
        return True


class Noisy:
    """Refuses a random share of the requests for no reason; another server decides about the rest."""

    def __init__(self, share: float, server: Server | None = None, *, seed: int = 1) -> None:
        self._share = share
        self._server = server
        self._chance = random.Random(seed)

    def accepts(self, now: float) -> bool:
        if self._chance.random() < self._share:
            return False
        return self._server is None or self._server.accepts(now)


class Scripted:
    """Follows a script of the time and the number of the request, counted from 1."""

    def __init__(self, script: Callable[[float, int], bool]) -> None:
        self._script = script
        self._count = 0

    def accepts(self, now: float) -> bool:
        self._count += 1
        return self._script(now, self._count)


@dataclasses.dataclass(frozen=True)
class Client:
    """The settings of the client, and the round-trip time of the network in seconds."""

    ceiling: float = 2000
    burst: int = 10
    concurrency: int = 16
    latency: tuple[float, float] = (0.002, 0.006)
    adaptive: bool = True
    retry_after: float = 0.0  # that every 429 asks for
    late: float = 0.0001  # seconds by which a timer is late, at most
    seed: int = 1


@dataclasses.dataclass
class Traffic:
    """The result: when requests were sent and accepted, and how many were answered with 429."""

    sent: list[float] = dataclasses.field(default_factory=list)
    accepted: list[float] = dataclasses.field(default_factory=list)
    refused: int = 0
    began: float = 0.0

    @property
    def per_second(self) -> float:
        """Return the accepted requests a second."""
        return len(self.accepted) / (self.accepted[-1] - self.began)

    @property
    def refused_share(self) -> float:
        """Return the share of 429s among all requests."""
        return self.refused / len(self.sent)

    def busiest(self, seconds: float = 1.0) -> int:
        """Return the largest number of requests that were sent within this time."""
        most, window = 0, collections.deque[float]()
        for at in self.sent:
            window.append(at)
            while window[0] <= at - seconds:
                window.popleft()
            most = max(most, len(window))
        return most


def simulate(server: Server, client: Client = Client(), *, requests: int) -> Traffic:
    """Send requests as fast as the client may, each again until it is accepted."""
    return _Simulation(server, client).run(requests)


def simulate_runs(server: Server, client: Client = Client(), *, requests: int, runs: int, idle: float) -> list[Traffic]:
    """Send the requests of several runs, with `idle` seconds between them."""
    simulation = _Simulation(server, client)
    return [simulation.run(requests, after=idle if number else 0.0) for number in range(runs)]


class _Simulation:
    """Requests wait for their turn, travel over the network, come back, and are done or back off."""

    def __init__(self, server: Server, client: Client) -> None:
        self._server, self._client = server, client
        self._chance = random.Random(client.seed)
        self._bucket = token_bucket.TokenBucket(burst=client.burst, now=0.0)
        self._estimate = rate_estimator.RateEstimator(ceiling=client.ceiling, adaptive=client.adaptive)
        self._fresh = self._open = 0
        self._bucket.even = not self._estimate.knows_limit
        self._bucket.drain()
        self._closed_until = 0.0
        self._waiting: collections.deque[int] = collections.deque()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._now = 0.0
        self.traffic = Traffic()

    def run(self, requests: int, *, after: float = 0.0) -> Traffic:
        self._now += after
        self._fresh = self._open = requests
        self.traffic = Traffic(began=self._now)
        for _ in range(self._client.concurrency):
            self._next_item()
        while self._open:
            self._step()
        return self.traffic

    def _step(self) -> None:
        wait = self._wait() if self._waiting else float("inf")
        if wait <= _ENOUGH:
            self._send(self._waiting.popleft())
        elif self._events and self._events[0][0] <= self._now + wait:
            self._now, _, event = heapq.heappop(self._events)
            event()
        else:
            self._now += wait + self._client.late * self._chance.random()  # a timer is never early

    def _wait(self) -> float:
        return max(self._closed_until - self._now, self._bucket.wait(self._now, self._estimate.rate(self._now)))

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._numbers), event))

    def _next_item(self) -> None:
        if self._fresh:
            self._fresh -= 1
            self._waiting.append(1)

    def _send(self, attempt: int) -> None:
        self._bucket.take()
        self.traffic.sent.append(self._now)
        sent, way = self._now, self._chance.uniform(*self._client.latency) / 2
        self._after(way, lambda: self._arrive(sent, attempt, way))

    def _arrive(self, sent: float, attempt: int, way: float) -> None:
        answer = self._accepted if self._server.accepts(self._now) else self._refused
        self._after(way, lambda: answer(sent, attempt))

    def _accepted(self, sent: float, _: int) -> None:
        self.traffic.accepted.append(self._now)
        waited = self._bucket.wait(self._now, self._estimate.rate(self._now)) > 0
        self._estimate.accepted(sent=sent, now=self._now, waited=waited)
        self._bucket.even = not self._estimate.knows_limit
        self._open -= 1
        self._next_item()

    def _refused(self, sent: float, attempt: int) -> None:
        self.traffic.refused += 1
        self._bucket.wait(self._now, self._estimate.rate(self._now))
        pause = self._client.retry_after
        if self._estimate.limited(sent=sent, now=self._now, pause=pause):
            self._bucket.drain()
        self._bucket.even = not self._estimate.knows_limit
        if self._now >= self._closed_until:
            self._closed_until = self._now + pause
        step = min(30.0, 0.5 * 2.0 ** (attempt - 1)) * (0.5 + 0.5 * self._chance.random())
        self._after(0.0 if pause else step, lambda: self._waiting.append(attempt + 1))
