"""Lets requests go one after the other, no faster than the account's pace.

Invariants: all requests of an account pass here, never more than the ceiling; only the one at the head of the queue
sleeps, so a change of pace acts at once. Neighbours: `core.rate` decides how fast, `sending` passes at each attempt.
"""

import math

import anyio

from worker.core.model.errors import RateLimited
from worker.core.pacing import rate_estimator, retry_policy, token_bucket
from worker.engine import cancellation

_LEAST_SECONDS = 1e-6
"""What any clock can tell apart: a shorter sleep may end before it began, over and over."""


class RateLimiter:
    """A turnstile. It outlives runs, so that what was learned about the server's limit is kept."""

    def __init__(self, *, requests_per_second: float, burst: int, adaptive: bool) -> None:
        """Take the settings of `[rate_limit]`. To be made inside the event loop whose clock it uses."""
        self._estimate = rate_estimator.RateEstimator(ceiling=requests_per_second, adaptive=adaptive)
        self._bucket = token_bucket.TokenBucket(burst=burst, now=anyio.current_time())
        self._closed_until = -math.inf
        self._head = anyio.Lock()
        self._changed = anyio.Event()

    async def acquire(self, run_cancellation: cancellation.Cancellation) -> float:
        """Wait until a request may go; give the moment it goes.

        Raises the reason of `halt`, and errors.RateLimited where Charge asked for a pause too long to sit out.
        """
        async with self._head:
            while (wait := self._wait(anyio.current_time())) > 0:
                run_cancellation.check()
                with anyio.move_on_after(max(wait, _LEAST_SECONDS)):
                    await self._changed.wait()
            run_cancellation.check()
            self._bucket.take()
            return anyio.current_time()

    def accepted(self, sent: float) -> None:
        """Note that a request of the moment `sent` was accepted, whatever its answer."""
        now = anyio.current_time()
        before = self._estimate.rate(now)
        self._estimate.accepted(sent=sent, now=now)
        if self._estimate.rate(now) > before:
            self._bucket.wait(now, before)  # what was saved up until now was saved up at the old rate
            self.wake()

    def limited(self, sent: float, retry_after: float | None) -> None:
        """Note that a request of the moment `sent` was answered with 429, and slow everybody down."""
        now = anyio.current_time()
        self._bucket.wait(now, self._estimate.rate(now))
        if self._estimate.limited(sent=sent, now=now):
            self._bucket.drain()
        if retry_after is not None:
            self._closed_until = max(self._closed_until, now + retry_after)
        self.wake()

    def wake(self) -> None:
        """Let the head of the queue look again: the pace has changed, or the run has ended."""
        self._changed.set()
        self._changed = anyio.Event()

    def rate(self) -> float:
        """Give the requests a second that may be sent now."""
        return self._estimate.rate(anyio.current_time())

    def _wait(self, now: float) -> float:
        closed = self._closed_until - now
        if closed > retry_policy.LONGEST_WAIT:
            raise RateLimited(f"Charge asked for a pause of {closed:.0f} s", retry_after=closed)
        return max(closed, self._bucket.wait(now, self._estimate.rate(now)))
