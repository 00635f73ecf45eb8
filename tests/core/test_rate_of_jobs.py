"""What a job costs: how much longer it takes than the limit of its server allows, and how often it is refused.

The servers are simulated (`rate_model`), so that minutes pass in no time.
"""

import dataclasses
import statistics
from collections.abc import Callable

import pytest

from tests.core import rate_model


@dataclasses.dataclass(frozen=True)
class Job:
    """Requests against a server, with the time that they need at its limit, and what may be lost."""

    server: Callable[[], rate_model.Server]
    requests: int
    limit: float
    client: rate_model.Client
    times_ideal: float
    refused: float


KNOWN = {
    f"known_{limit}": Job(
        lambda limit=limit: rate_model.TokenBucket(limit, 20),  # type: ignore[misc]
        4000,
        limit,
        rate_model.Client(ceiling=limit, concurrency=64),
        most,
        0.0,
    )
    for limit, most in ((200, 1.03), (500, 1.05), (1000, 1.2))
}
NEAR = rate_model.Client(latency=(0.0005, 0.0015), late=0.001)
"""On the machine of the server, with the timers of asyncio, which are whole milliseconds."""

JOBS = KNOWN | {
    "burst_of_10": Job(lambda: rate_model.TokenBucket(150, 20), 1500, 150, rate_model.Client(burst=10), 1 / 0.92, 0.01),
    "burst_of_50": Job(lambda: rate_model.TokenBucket(150, 20), 1500, 150, rate_model.Client(burst=50), 1 / 0.92, 0.01),
    "pauses": Job(lambda: rate_model.TokenBucket(150, 20), 1500, 150, rate_model.Client(retry_after=1.0), 1.3, 0.02),
    "few": Job(
        lambda: rate_model.TokenBucket(100, 10),
        100,
        100,
        rate_model.Client(ceiling=3000, burst=200, retry_after=1.0),
        2.3,
        0.05,
    ),
    "windows_of_3_seconds": Job(
        lambda: rate_model.FixedWindow(25 / 3, seconds=3), 400, 25 / 3, rate_model.Client(ceiling=25), 1.15, 0.03
    ),
    "limit_req": Job(lambda: rate_model.LimitReq(50), 320, 50, NEAR, 1 / 0.85, 0.02),
    "limit_req_burst": Job(lambda: rate_model.LimitReq(50, 10), 320, 50, NEAR, 1 / 0.95, 0.02),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_takes_little_longer_than_the_limit_allows_and_is_rarely_refused(name: str) -> None:
    """The middle one of five chances: the last request of a job may be the one that was refused and backs off."""
    job = JOBS[name]
    runs = [
        rate_model.simulate(job.server(), dataclasses.replace(job.client, seed=seed), requests=job.requests)
        for seed in range(1, 6)
    ]
    assert statistics.median(job.limit / traffic.per_second for traffic in runs) <= job.times_ideal
    assert max(traffic.refused_share for traffic in runs) <= job.refused
