"""The limits of a real nginx are found: one with a burst, and one that wants every request in its own time."""

from collections.abc import Iterator

import anyio
import pytest

from benchmarks import limit_req
from tests.support import nginx_server


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    nginx_server.require()
    with limit_req.serving() as found:
        yield found


@pytest.mark.parametrize("zone", ["burst", "even"])
def test_the_limit_of_nginx_is_found_without_a_storm_of_429s(urls: dict[str, str], zone: str) -> None:
    """How well it is used depends on the machine: `make bench` measures that."""
    reading = anyio.run(limit_req.read, urls[zone], 120)
    assert reading.traffic.reads - reading.traffic.rate_limited == 120
    assert 1 <= reading.traffic.rate_limited <= 12
    assert 0.3 * limit_req.RATE <= reading.rate <= 1.5 * limit_req.RATE
