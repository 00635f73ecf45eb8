"""Planted defects of talking to Charge: requests, replies, pages, retries and the rate limit.

Invariant: as in `defects`. Neighbours: `every_defect` names the modules that have the others; `__main__` plants all.
"""

from tests.mutants.defects import APPLIER, Defect

EXECUTOR = ("tests/engine/test_request_executor.py",)

DEFECTS = (
    Defect(
        "counting requests that never left",
        "worker/engine/request_executor.py",
        "sent_requests = 0 if isinstance(error, NotSent) else 1",
        "sent_requests = 1",
        EXECUTOR,
    ),
    Defect(
        "an id of a saved plan that leads to another path",
        "worker/charge/client.py",
        "if not _ID.fullmatch(name):",
        "if not name:",
        ("tests/charge",),
    ),
    Defect(
        "going on after a rejected key",
        "worker/engine/request_executor.py",
        "            self.cancellation.request_stop(error)",
        "            pass",
        (*EXECUTOR, *APPLIER),
    ),
    Defect(
        "retrying a 403",
        "worker/core/pacing/retry_policy.py",
        "RateLimited | Unreachable)",
        "Exception)",
        ("tests/core/test_retry_policy.py",),
    ),
    Defect(
        "a rate that was learned for another account",
        "worker/engine/ownership.py",
        "if known.learned is None or owner != self._account:",
        "if known.learned is None:",
        ("tests/engine/test_learned_rate.py",),
    ),
    Defect(
        "a rate that was learned long ago",
        "worker/core/model/report.py",
        "datetime.timedelta(0) <= now - self.at < _LEARNED_FOR",
        "True",
        ("tests/engine/test_learned_rate.py",),
    ),
    Defect(
        "a rate that 429s lower for ever",
        "worker/core/pacing/rate_estimator.py",
        "self._rate = max(self._rate, min(before, _LOWEST))",
        "self._rate = min(before, self._rate)",
        ("tests/core/test_rate_estimator.py",),
    ),
    Defect(
        "a reset that is over, taken for a pause",
        "worker/charge/pause_headers.py",
        "next((each for each in seconds if each), None)",
        "next((each for each in seconds if each is not None), None)",
        ("tests/charge/test_pause_headers.py",),
    ),
    Defect(
        "forgetting Retry-After",
        "worker/engine/rate_limiter.py",
        "if retry_after is not None:",
        "if retry_after is None:",
        ("tests/engine/test_rate_limiter.py",),
    ),
    Defect(
        "a longer pause for each 429 of the same moment",
        "worker/engine/rate_limiter.py",
        "if now >= self._closed_until or seconds > self._pause:",
        "if seconds >= 0:",
        ("tests/engine/test_rate_limiter.py",),
    ),
    Defect(
        "a burst before the limit is known",
        "worker/engine/rate_limiter.py",
        "        self._bucket.even = not self._estimator.knows_limit\n        self._closed_until",
        "        self._closed_until",
        ("tests/engine/test_rate_limiter.py",),
    ),
    Defect(
        "no ceiling",
        "worker/engine/rate_limiter.py",
        "            self._bucket.take()",
        "            pass",
        ("tests/engine/test_rate_limiter.py",),
    ),
    Defect(
        "following a page to a foreign origin",
        "worker/charge/transport.py",
        "ours = _origin(address) == _origin(self._base) and not address.userinfo",
        "ours = not address.userinfo",
        ("tests/charge",),
    ),
    Defect(
        "following an address whose host only begins like ours",
        "worker/charge/transport.py",
        """{self._base.netloc.decode('ascii')}/\"""",
        """{self._base.netloc.decode('ascii')}\"""",
        ("tests/charge",),
    ),
    Defect(
        "keeping the parser of a connection, with what followed the last reply",
        "worker/charge/connection.py",
        "        self._http = httpcore.AsyncHTTP11Connection(",
        "        self._http = self._http or httpcore.AsyncHTTP11Connection(",
        ("tests/charge/test_hostile_server.py",),
    ),
    Defect(
        "using a connection again although TLS has another record for it",
        "worker/charge/connection.py",
        " and not _has_unread(self._stream):",
        ":",
        ("tests/charge/test_secure_network.py",),
    ),
    Defect(
        "leaving out a driver whose object cannot be read",
        "worker/charge/pages.py",
        "                malformed.append(identity)",
        "                pass",
        ("tests/charge/test_pages.py",),
    ),
    Defect(
        "using a key of another mode after a 401",
        "worker/charge/key_renewal.py",
        " or key.mode != rejected.mode:",
        ":",
        ("tests/charge/test_key_renewal.py",),
    ),
    Defect(
        "reading the key again at every 401",
        "worker/charge/key_renewal.py",
        "            self._available = False",
        "            pass",
        ("tests/charge/test_key_renewal.py",),
    ),
    Defect(
        "taking a redirect for an answer",
        "worker/charge/client.py",
        "if 200 <= status < 300:",
        "if 200 <= status < 400:",
        ("tests/charge",),
    ),
    Defect(
        "taking a driver without `fleets` for one in no fleet",
        "worker/charge/codec.py",
        "    fleets: list[FleetId] | None\n    email",
        "    fleets: list[FleetId] | None = None\n    email",
        ("tests/charge",),
    ),
    Defect(
        "asking Charge at the full pace while it is away",
        "worker/core/pacing/retry_policy.py",
        "first * 2.0 ** min(failures - 1, 32)",
        "first",
        ("tests/core/test_retry_policy.py", "tests/service"),
    ),
)
