"""The faults that the sandbox can inject, drawn at random or scripted request by request.

Invariant: the same seed, faults and sequence of requests inject the same faults.
Neighbours: `app` calls `Faults.draw` once per request and injects the fault; `pages` injects the faults of lists.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from worker.sandbox import fake_data, http_types

NAMES: Final[Mapping[str, str]] = {
    "rate_limited": "429 without Retry-After",
    "rate_limited_seconds": "429 with Retry-After in seconds",
    "rate_limited_date": "429 with Retry-After as an HTTP date",
    "500": "500 before the effect",
    "500_after": "500 after the effect",
    "503": "503 before the effect",
    "html": "502 with an HTML page, before the effect",
    "gateway_timeout": "504 with an HTML page, after the effect",
    "html_200": "200 with an HTML page, before the effect",
    "reset_before": "connection reset before the effect",
    "reset_after": "connection reset after the effect: the reply is lost",
    "truncated": "a reply cut inside its body, after the effect",
    "wrong_types": "a reply with fields of other types, after the effect",
    "hang": "no reply ever, before the effect",
    "hang_after": "no reply ever, after the effect",
    "late": "no reply ever, and the effect of a write some seconds later",
    "late_504": "504 with an HTML page, and the effect of a write some seconds later",
    "not_kept": "200 with the new fleet to an attach that has no effect",
    "refused": "409 policy_blocked to every write of an affected driver",
    "not_found": "404 to every request about an affected driver or fleet",
    "forbidden": "403 to every request about an affected driver or fleet",
    "malformed": "a page on which one object has half a surrogate pair in its name",
    "shift": "a page after the first that misses one object",
    "repeat": "a page that shows one object again",
    "loop": "a page whose next_page_url is its own",
    "cut_short": "half a page, said to be the last",
    "foreign": "a next_page_url on another origin",
    "endless": "a page that repeats forever under new addresses",
}

LATE: Final = frozenset({"late", "late_504"})
LISTS: Final = frozenset({"malformed", "shift", "repeat", "loop", "cut_short", "foreign", "endless"})
STICKY: Final = frozenset({"refused", "not_found", "forbidden"})

Script = Callable[[http_types.Request], str | None] | Iterable[str | None]


class Disconnect(Exception):
    """The connection ends without a complete reply; the server that runs the application must break it.

    Disconnect
    ├── ConnectionReset   nothing was sent: reset the connection (RST)
    └── ConnectionCut     a part of the body was sent: close the connection (FIN)
    """


class ConnectionReset(Disconnect):
    """The connection is reset before the first byte of a reply."""


class ConnectionCut(Disconnect):
    """The connection is closed in the middle of the body."""


class Faults:
    """Chooses the fault of each request: the script decides first, then the probabilities.

    A script is an iterable with a name or None for each request in turn, or a function of the request. A fault that
    does not apply to a request, such as a list fault on a write, has no effect.
    """

    def __init__(self, rates: Mapping[str, float] | None = None, *, script: Script = (), seed: int = 1) -> None:
        """Store the probability of each fault and the script. Raise ValueError for an unknown name."""
        self.rates = {_known(name): rate for name, rate in (rates or {}).items()}
        self._seed = seed
        self._rng = fake_data.generator(seed)
        self._scripted = script if callable(script) else _reader([name and _known(name) for name in script])

    def draw(self, request: http_types.Request) -> str | None:
        """Return the fault of this request, or None."""
        scripted = self._scripted(request)
        if scripted is not None:
            return scripted if _concerns(_known(scripted), request) else None
        for name, rate in self.rates.items():
            if _concerns(name, request) and self._chance(name, request) < rate:
                return name
        return None

    def delay(self, shortest: float, longest: float) -> float:
        """Return how many seconds later a late write takes effect."""
        return self._rng.uniform(shortest, longest)

    def _chance(self, name: str, request: http_types.Request) -> float:
        if name not in STICKY:
            return self._rng.random()
        # These faults concern an object, not a request: an affected object is affected every time.
        digest = hashlib.sha256(f"{self._seed}/{name}/{request.subject}".encode()).digest()
        return int.from_bytes(digest[:6]) / 256**6


def parse(specs: Sequence[str], *, seed: int = 1) -> Faults:
    """Return the faults of command-line options `NAME=P`, with P from 0 to 1. Raise ValueError with the reason."""
    rates = {}
    for spec in specs:
        name, equals, chance = spec.partition("=")
        if not equals:
            raise ValueError(f"{spec!r} is not NAME=P, for example 500=0.1")
        rates[_known(name)] = _probability(chance, spec)
    return Faults(rates, seed=seed)


def _known(name: str) -> str:
    if name not in NAMES:
        raise ValueError(f"there is no fault {name!r}; the faults are: {', '.join(NAMES)}")
    return name


def _probability(text: str, spec: str) -> float:
    try:
        chance = float(text)
    except ValueError:
        chance = -1.0
    if not 0 <= chance <= 1:
        raise ValueError(f"{spec!r}: {text!r} is not a probability from 0 to 1")
    return chance


def _concerns(name: str, request: http_types.Request) -> bool:
    if name in LISTS:
        return request.route in http_types.LISTS
    if name == "not_kept":
        return request.route == "attach"
    if name == "refused" or name in LATE:
        return request.route in http_types.WRITES
    return name not in STICKY or bool(request.subject)


def _reader(names: Iterable[str | None]) -> Callable[[http_types.Request], str | None]:
    rest = iter(names)
    return lambda request: next(rest, None)


NONE: Final = Faults()
