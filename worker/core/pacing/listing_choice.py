"""Chooses how drivers are listed: fleet by fleet, or all of them at once.

One listing is a chain: each page names the next one. Listings of several fleets run side by side, but take more
requests. Invariant: pure; the choice changes how long a reading takes and what it costs, never what it says.
Neighbours: `engine.driver_reader` counts the pages, `engine.request_executor` measures the timing.
"""

import dataclasses

MAX_EXTRA_REQUESTS = 1.5
"""How many times the fewest requests a quicker reading may take."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pages:
    """The requests of a reading, and how many of them at least must wait for one another."""

    requests: int
    longest_chain: int


@dataclasses.dataclass(frozen=True, slots=True)
class RequestTiming:
    """How fast requests go: seconds between two turns, seconds until an answer, and requests in flight."""

    seconds_between_turns: float
    latency: float
    concurrency: int


def seconds(pages: Pages, timing: RequestTiming) -> float:
    """Return how long a reading takes: the rate limit, the connections or the longest chain decide."""
    return max(
        pages.requests * timing.seconds_between_turns,
        pages.requests * timing.latency / timing.concurrency,
        pages.longest_chain * timing.latency,
    )


def by_fleet(fleets: Pages, everyone: Pages, timing: RequestTiming) -> bool:
    """Return whether to list each fleet rather than all drivers."""
    if fleets.requests <= everyone.requests:
        return True
    affordable = fleets.requests <= MAX_EXTRA_REQUESTS * everyone.requests
    return affordable and seconds(fleets, timing) < seconds(everyone, timing)
