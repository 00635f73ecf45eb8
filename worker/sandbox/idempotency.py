"""Idempotency keys: the first request with a key decides, and a retry gets its outcome back, as it was then.

Invariant: while a key is remembered, its write is carried out at most once (save where a 5xx is forgotten on purpose).
Neighbours: `app` asks for every write, `endpoints` carries them out, `behaviour` says what is silent about it.
"""

import dataclasses
from collections.abc import Callable

from worker.sandbox import endpoints, http_types, objects

LONGEST = 255


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """The outcome of a key's first request, what that request was, and when its memory fades."""

    fingerprint: tuple[str, bytes]
    answer: http_types.Answer
    until: float


class Keys:
    """Every key that was used."""

    def __init__(self) -> None:
        """Start with none."""
        self._stored: dict[str, Stored] = {}

    def answer(self, call: endpoints.Call, perform: Callable[[endpoints.Call], http_types.Answer]) -> http_types.Answer:
        """Answer a write: by what is stored under its key, else by performing it."""
        request, behaviour = call.request, call.behaviour
        if request.key is None:
            return perform(call)
        if len(request.key) > LONGEST:
            return objects.error(request, 400, "idempotency_key_invalid", f"A key has at most {LONGEST} characters.")
        stored = self._stored.get(request.key)
        if stored is not None and request.time < stored.until:
            return _replay(stored, call)
        self._stored.pop(request.key, None)
        outcome = perform(call)
        kept = _memory(outcome, call)
        if kept is not None:
            until = request.time + behaviour.key_lifetime_seconds
            self._stored[request.key] = Stored(_fingerprint(request), kept, until)
        return outcome


def _replay(stored: Stored, call: endpoints.Call) -> http_types.Answer:
    reused = call.behaviour.reused_key
    if reused == "first_answer" or stored.fingerprint == _fingerprint(call.request):
        return stored.answer
    message = "This key was used for another request."
    return objects.error(call.request, 400 if reused == "bad_request" else 409, "idempotency_key_reused", message)


def _memory(outcome: http_types.Answer, call: endpoints.Call) -> http_types.Answer | None:
    """Decide what is remembered of a first request: a 5xx stands for itself, for its outcome, or for nothing."""
    mode: str = call.behaviour.stored_5xx
    if call.fault not in ("500", "500_after"):
        return outcome
    if mode == "replay":
        return endpoints.failure(call)
    return outcome if mode == "outcome" and call.fault == "500_after" else None


def _fingerprint(request: http_types.Request) -> tuple[str, bytes]:
    return request.path, request.body
