"""Lets requests go one after the other, no faster than the account's rate limit.

Invariants: all requests of an account take their turns here, never faster than the ceiling; a waiting request notices
a change of the rate at once. Neighbours: `core.pacing` decides how fast, `request_executor` takes a turn for each
attempt.
"""

import math

import anyio

from worker.core.model.errors import RateLimited
from worker.core.pacing import rate_estimator, retry_policy, token_bucket
from worker.engine import cancellation

_SHORTEST_SLEEP = 1e-6
"""Seconds that any clock can tell apart. A shorter sleep may end before it began, over and over."""


class RateLimiter:
    """Hands out turns. It outlives runs, so that what was learned about the server's limit is kept."""

    def __init__(self, *, requests_per_second: float, burst: int, adaptive: bool) -> None:
        """Take the settings of `[rate_limit]`. Call this inside the event loop whose clock it uses."""
        self._estimator = rate_estimator.RateEstimator(ceiling=requests_per_second, adaptive=adaptive)
        self._bucket = token_bucket.TokenBucket(burst=burst, now=anyio.current_time())
        self._bucket.even = not self._estimator.knows_limit
        self._closed_until = -math.inf
        self._pause = 0.0  # seconds asked for by the 429 that closed the gate
        # One waiter each: the others queue for the lock. A free one is taken without a turn of the event loop.
        self._ordinary, self._urgent = anyio.Lock(fast_acquire=True), anyio.Lock(fast_acquire=True)
        self._urgent_waiters = 0
        self._changed = anyio.Event()

    async def acquire(self, run_cancellation: cancellation.Cancellation, *, urgent: bool = False) -> float:
        """Wait until a request may go, and return the moment it goes.

        An urgent request takes the next turn: a proof that a driver may be detached would expire while the detach
        queues behind hundreds of other requests. Raises the reason of the cancellation, and errors.RateLimited if
        Charge asked for a pause that is too long to wait for.
        """
        self._urgent_waiters += urgent
        try:
            async with self._urgent if urgent else self._ordinary:
                while (wait := self._wait(anyio.current_time(), urgent=urgent)) > 0:
                    run_cancellation.check()
                    with anyio.move_on_after(max(wait, _SHORTEST_SLEEP)):
                        await self._changed.wait()
                run_cancellation.check()
                self._bucket.take()
                return anyio.current_time()
        finally:
            if urgent:
                self._urgent_waiters -= 1
                self.wake()

    def give_back(self) -> None:
        """Return a turn that was not used."""
        self._bucket.give_back()
        self.wake()

    def accepted(self, sent: float) -> None:
        """Note that the request that went at `sent` was accepted, whatever its answer."""
        now = anyio.current_time()
        before = self._estimator.rate(now)
        waited = (
            self._bucket.wait(now, before) > 0
        )  # also counts the tokens up to now, which were saved at the old rate
        self._estimator.accepted(sent=sent, now=now, waited=waited)
        self._bucket.even = not self._estimator.knows_limit
        if self._estimator.rate(now) > before:
            self.wake()

    def limited(self, sent: float, retry_after: float | None) -> None:
        """Note that the request that went at `sent` was answered with 429, and slow down all requests."""
        now = anyio.current_time()
        self._bucket.wait(now, self._estimator.rate(now))
        if self._estimator.limited(sent=sent, now=now, pause=retry_after or 0.0):
            self._bucket.drain()
        self._bucket.even = not self._estimator.knows_limit
        if retry_after is not None:
            self._close(now, retry_after)
        self.wake()

    def wake(self) -> None:
        """Let the waiting requests look again: the rate has changed, or the run has ended."""
        self._changed.set()
        self._changed = anyio.Event()

    @property
    def learned(self) -> float | None:
        """Return the requests a second that were found below a limit, or None if there was none to find."""
        return self._estimator.learned

    def start_at(self, rate: float) -> None:
        """Start at a rate that was learned earlier, unless there have been replies already."""
        self._estimator.start_at(rate)

    @property
    def closed_for(self) -> float:
        """Return the seconds for which Charge wants no request."""
        return max(0.0, self._closed_until - anyio.current_time())

    def take_over(self, *, closed_for: float) -> None:
        """Go on where another process of this account ended: with no turns saved up, after the pause that it had."""
        self._bucket.drain()
        if closed_for > 0:
            self._close(anyio.current_time(), closed_for)

    def rate(self) -> float:
        """Return the requests a second that may be sent now."""
        return self._estimator.rate(anyio.current_time())

    def _close(self, now: float, seconds: float) -> None:
        """Let nothing pass for so long, once for all the 429s that are on their way, unless one names a longer time."""
        if now >= self._closed_until or seconds > self._pause:
            self._closed_until, self._pause = max(self._closed_until, now + seconds), seconds

    def _wait(self, now: float, *, urgent: bool) -> float:
        """Return the seconds until the next turn, infinite while an urgent request waits for it."""
        closed = self._closed_until - now
        if closed > retry_policy.LONGEST_WAIT:
            raise RateLimited(f"Charge asked for a pause of {closed:.0f} s", retry_after=closed)
        if self._urgent_waiters and not urgent:
            return math.inf
        return max(closed, self._bucket.wait(now, self._estimator.rate(now)))
