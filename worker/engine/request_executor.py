"""Sends one request as often as is worth it: paced, retried, counted.

Invariants: each attempt waits for its turn; nothing is sent after a halt; a 401 halts the run. The first attempt runs
outside of tenacity, which would cost every request, not just the failed ones. Neighbours: `core.retry` decides,
`pacing` lets pass, `reading` and `apply` send through this.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import structlog
import tenacity

from worker.core.model.errors import ChargeError, ForeignOrigin, KeyRejected, NotSent, RateLimited, Unreachable
from worker.core.model.report import Traffic
from worker.core.pacing import retry_policy
from worker.engine import cancellation, rate_limiter

log = structlog.get_logger()

Answer = TypeVar("Answer")

_SILENCE = 5.0
"""Seconds without a single success, after which people are told."""
Call = Callable[[], Awaitable[Answer]]


@dataclasses.dataclass(slots=True)
class Attempts:
    """What became of one request so far: how often it went over the wire, and the codes of its failures.

    `doubtful`: an attempt got no clear answer, and may have taken effect.
    """

    write: bool = False
    count: int = 0
    maybe_applied: bool = False
    failures: set[str] = dataclasses.field(default_factory=set)
    ready: Callable[[], Awaitable[None]] | None = None


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
        """Take the account's pace, the run's halt, and `jitter`, which gives numbers from 0 to 1."""
        self._limiter = limiter
        self._policy = policy
        self._jitter = jitter
        self._budget = retry_policy.RetryBudget()
        self._answered = self._told = anyio.current_time()
        self._traffic = {"reads": 0, "writes": 0, "retries": 0, "rate_limited": 0}
        self.run_cancellation = run_cancellation

    @property
    def traffic(self) -> Traffic:
        """Count what went over the wire until now."""
        return Traffic(**self._traffic)

    @property
    def requests(self) -> int:
        """Count all requests until now, but for retries: the same work counts the same in any weather."""
        return self._traffic["reads"] + self._traffic["writes"] - self._traffic["retries"]

    async def send(
        self, call: Call[Answer], attempts: Attempts | None = None, *, ready: Call[None] | None = None
    ) -> Answer:
        """Call until it succeeds or another attempt is not worth it; then raise what the last attempt raised.

        `call` sends one request and raises errors.ChargeError where that fails. `attempts` is updated all along.
        `ready` is asked right before each attempt, and may raise instead.
        """
        attempts = attempts or Attempts()
        attempts.ready = ready
        try:
            return await self._attempt(call, attempts)
        except ChargeError as error:
            first = error
        return await self._again(call, attempts, first)

    async def _again(self, call: Call[Answer], attempts: Attempts, first: ChargeError) -> Answer:
        """Let tenacity go on after the first failure, which it gets to see as its own first attempt."""
        failures = [first]
        delays = _Delays(self._policy, self._budget, self._jitter)

        async def attempt() -> Answer:
            if failures:
                raise failures.pop()
            return await self._attempt(call, attempts)

        retrying = tenacity.AsyncRetrying(
            retry=delays.worth_it,
            wait=delays.wait,
            sleep=self.run_cancellation.sleep,
            before_sleep=self._tell,
            reraise=True,
        )
        return await retrying(attempt)

    async def _attempt(self, call: Call[Answer], attempts: Attempts) -> Answer:
        """Wait for the turn, send once, and let the pace know what came back."""
        sent = await self._limiter.acquire(self.run_cancellation)
        if attempts.ready is not None:
            await attempts.ready()
        before, attempts.maybe_applied = attempts.maybe_applied, True
        went = 1
        try:
            answer = await call()
        except ChargeError as error:
            attempts.failures.add(error.code)
            went = 0 if isinstance(error, NotSent) else 1
            attempts.maybe_applied = before or _says_nothing(error)
            self._note(error, sent)
            raise
        finally:
            self._traffic["retries"] += went if attempts.count else 0
            self._traffic["writes" if attempts.write else "reads"] += went
            attempts.count += went
        attempts.maybe_applied = before
        self._limiter.accepted(sent)
        self._budget.succeeded()
        self._answered = anyio.current_time()
        return answer

    def _tell(self, state: tenacity.RetryCallState) -> None:
        """Log that a request is repeated, and every few seconds loudly while none succeeds at all."""
        error = state.outcome.exception() if state.outcome else None
        fields = {"attempt": state.attempt_number, "wait": round(state.upcoming_sleep, 3), "error": str(error)}
        log.debug("request_retried", **fields)
        if (now := anyio.current_time()) - max(self._answered, self._told) >= _SILENCE:
            self._told = now
            log.warning("charge_unanswered", **fields)

    def _note(self, error: ChargeError, sent: float) -> None:
        """Let pace and run know of a clear answer that is none of success."""
        if isinstance(error, Unreachable):
            return
        if isinstance(error, RateLimited):
            self._traffic["rate_limited"] += 1
            self._limiter.limited(sent, error.retry_after)
        else:
            self._limiter.accepted(sent)
        if isinstance(error, KeyRejected):
            self.run_cancellation.request_stop(error)


def _says_nothing(error: ChargeError) -> bool:
    """Tell whether a failure leaves open if the request took effect."""
    return isinstance(error, Unreachable | ForeignOrigin) and not isinstance(error, NotSent)


class _Delays:
    """Obeys `core.retry` in tenacity's terms: whether to try again, and how long to wait before."""

    def __init__(
        self, policy: retry_policy.RetryPolicy, budget: retry_policy.RetryBudget, jitter: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._jitter = jitter
        self._delay = 0.0

    def worth_it(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, ChargeError):
            return False
        delay = retry_policy.delay(error, attempt=state.attempt_number, jitter=self._jitter(), policy=self._policy)
        if delay is None or not self._budget.retry():
            return False
        self._delay = delay
        return True

    def wait(self, state: tenacity.RetryCallState) -> float:
        return self._delay
