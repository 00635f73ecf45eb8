"""Sends one request, rate limited and counted, and retries it while that is worthwhile.

Invariants: each attempt waits for its turn; nothing is sent after a stop; a 401 stops the run. Neighbours:
`core.pacing.retry_policy` decides about retries, `rate_limiter` hands out the turns, `reader` and `applier` send all
their requests through this.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import structlog
import tenacity

from worker.core.model.errors import (
    ChargeError,
    ForeignOrigin,
    KeyRejected,
    NotSent,
    RateLimited,
    Unreachable,
)
from worker.core.model.report import Traffic
from worker.core.pacing import listing_choice, retry_policy
from worker.engine import cancellation, rate_limiter

log = structlog.get_logger()

Answer = TypeVar("Answer")
Call = Callable[[], Awaitable[Answer]]

_SILENCE = 5.0
"""Seconds without a single success, after which a warning is logged."""


@dataclasses.dataclass(slots=True)
class Attempts:
    """What one request has gone through: how often it went over the wire, and the codes of its failures.

    `maybe_applied` says that an attempt got no clear answer, and may have taken effect.
    """

    write: bool = False
    count: int = 0
    maybe_applied: bool = False
    failures: set[str] = dataclasses.field(default_factory=set)


class RequestExecutor:
    """Sends the requests of one run."""

    def __init__(
        self,
        *,
        limiter: rate_limiter.RateLimiter,
        run_cancellation: cancellation.Cancellation,
        policy: retry_policy.RetryPolicy,
        jitter: Callable[[], float],
    ) -> None:
        """Take the account's rate limiter, the run's cancellation, and `jitter`, which returns numbers from 0 to 1."""
        self._limiter = limiter
        self._policy = policy
        self._jitter = jitter
        self._budget = retry_policy.RetryBudget()
        self._last_success = self._last_warning = anyio.current_time()
        self._never_connected = True
        self._answered, self._waited = 0, 0.0
        self._traffic = {"reads": 0, "writes": 0, "retries": 0, "rate_limited": 0}
        self.cancellation = run_cancellation

    @property
    def traffic(self) -> Traffic:
        """Return the number of requests that went over the wire."""
        return Traffic(**self._traffic)

    @property
    def requests(self) -> int:
        """Return the number of requests without retries, so that the same work counts the same on a bad network."""
        return self._traffic["reads"] + self._traffic["writes"] - self._traffic["retries"]

    @property
    def seconds_between_turns(self) -> float:
        """Return the seconds between two turns at the present rate."""
        return 1 / self._limiter.rate()

    @property
    def learned_rate(self) -> float | None:
        """Return the requests a second that Charge's limit allows, or None if none was found."""
        return self._limiter.learned

    def start_at(self, rate: float | None) -> None:
        """Send the first requests of this process at a rate that an earlier one learned, if any."""
        if rate is not None:
            self._limiter.start_at(rate)

    def timing(self, concurrency: int) -> listing_choice.RequestTiming:
        """Return how fast requests went so far, if `concurrency` of them may be in flight."""
        latency = self._waited / max(1, self._answered)
        return listing_choice.RequestTiming(self.seconds_between_turns, latency, concurrency)

    async def execute(
        self,
        call: Call[Answer],
        attempts: Attempts | None = None,
        *,
        ready: Call[None] | None = None,
        urgent: bool = False,
    ) -> Answer:
        """Call until it succeeds or another attempt is not worthwhile; then raise the error of the last attempt.

        `call` sends one request and raises errors.ChargeError if it fails. `attempts` is updated all along. `ready` is
        awaited after each turn, right before the attempt, and may raise instead. An `urgent` request takes the next
        turn, ahead of all that are not.
        """
        counted = attempts or Attempts()
        # The first attempt runs outside of tenacity, which would cost every request, not only the failed ones.
        try:
            return await self._attempt(call, counted, ready=ready, urgent=urgent)
        except ChargeError as error:
            first_failure = error
        retries = _Retries(self._policy, self._budget, self._jitter)
        if not retries.allowed(first_failure):
            raise first_failure
        self._log_retry(first_failure, retries)
        await self.cancellation.sleep(retries.delay)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(retries.allowed),
            wait=lambda state: retries.delay,
            sleep=self.cancellation.sleep,
            before_sleep=lambda state: self._log_retry(state.outcome.exception() if state.outcome else None, retries),
            reraise=True,
        )
        return await retrying(self._attempt, call, counted, ready=ready, urgent=urgent)

    async def _attempt(
        self, call: Call[Answer], attempts: Attempts, *, ready: Call[None] | None, urgent: bool
    ) -> Answer:
        """Wait for the turn, send once, and tell the rate limiter what came back."""
        sent = await self._limiter.acquire(self.cancellation, urgent=urgent)
        if ready is not None:
            try:
                await ready()
            except BaseException:
                self._limiter.give_back()
                raise
        maybe_applied_before = attempts.maybe_applied
        attempts.maybe_applied = True  # until there is an answer: a cancelled attempt may have taken effect, too
        sent_requests = 1
        try:
            answer = await call()
        except ChargeError as error:
            sent_requests = 0 if isinstance(error, NotSent) else 1
            attempts.failures.add(error.code)
            attempts.maybe_applied = maybe_applied_before or _may_have_been_applied(error)
            self._note_failure(error, sent)
            raise
        finally:
            self._traffic["retries"] += sent_requests if attempts.count else 0
            self._traffic["writes" if attempts.write else "reads"] += sent_requests
            attempts.count += sent_requests
        attempts.maybe_applied = maybe_applied_before
        self._limiter.accepted(sent)
        self._budget.succeeded()
        self._last_success = anyio.current_time()
        self._never_connected = False
        self._answered += 1
        self._waited += self._last_success - sent
        return answer

    def _note_failure(self, error: ChargeError, sent: float) -> None:
        """Report a clear answer that is not a success to the rate limiter and the run."""
        if isinstance(error, Unreachable):
            return
        if isinstance(error, RateLimited):
            self._traffic["rate_limited"] += 1
            self._limiter.limited(sent, error.retry_after)
        else:
            self._limiter.accepted(sent)
        if isinstance(error, KeyRejected):
            self.cancellation.request_stop(error)

    def _log_retry(self, error: BaseException | None, retries: "_Retries") -> None:
        """Log a retry; a warning at once if no connection was ever made, else every few seconds without a success."""
        fields = {"attempt": retries.failed_attempts, "wait": round(retries.delay, 3), "error": str(error)}
        log.debug("request_retried", **fields)
        now = anyio.current_time()
        if self._never_connected and isinstance(error, NotSent):
            self._never_connected = False  # one warning: many requests may fail at the same time
            self._last_warning = now
            log.warning("charge_unreachable", **fields)
        elif now - max(self._last_success, self._last_warning) >= _SILENCE:
            self._last_warning = now
            log.warning("charge_unanswered", **fields)


def _may_have_been_applied(error: ChargeError) -> bool:
    """Return whether a failure leaves open if the request took effect."""
    return isinstance(error, Unreachable | ForeignOrigin) and not isinstance(error, NotSent)


class _Retries:
    """The retries of one request, as `retry_policy` decides them."""

    def __init__(
        self, policy: retry_policy.RetryPolicy, budget: retry_policy.RetryBudget, jitter: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._jitter = jitter
        self.failed_attempts = 0
        self.delay = 0.0
        """Seconds to wait before the next attempt."""

    def allowed(self, error: BaseException) -> bool:
        """Count a failed attempt, and return whether another one is worthwhile."""
        self.failed_attempts += 1
        if not isinstance(error, ChargeError):
            return False
        delay = retry_policy.delay(error, attempt=self.failed_attempts, jitter=self._jitter(), policy=self._policy)
        if delay is None or not self._budget.retry():
            return False
        self.delay = delay
        return True
