"""Idempotency keys: the first request with a key is carried out, and a retry gets the same answer again.

Invariant: a write is carried out at most once while its key is stored, unless `Quirks.stored_5xx` forgets a 5xx.
Neighbours: `app` asks for every write, `endpoints` carries them out, and `quirks` lists what the reference leaves open.
"""

import dataclasses
from collections.abc import Callable

from worker.sandbox import endpoints, http_types, objects

MAX_KEY_CHARACTERS = 255


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """The answer to the first request with a key, the fingerprint of that request, and when the key expires."""

    fingerprint: tuple[str, bytes]
    answer: http_types.Answer
    until: float


class Keys:
    """The store of idempotency keys."""

    def __init__(self) -> None:
        """Start without stored keys."""
        self._stored: dict[str, Stored] = {}

    def answer(self, call: endpoints.Call, perform: Callable[[endpoints.Call], http_types.Answer]) -> http_types.Answer:
        """Return the stored answer to a write, or carry it out and store the answer."""
        request, quirks = call.request, call.quirks
        if request.key is None:
            return perform(call)
        if len(request.key) > MAX_KEY_CHARACTERS:
            return objects.error(
                request, 400, "idempotency_key_invalid", f"A key has at most {MAX_KEY_CHARACTERS} characters."
            )
        stored = self._stored.get(request.key)
        if stored is not None and request.time < stored.until:
            return _replay(stored, call)
        self._stored.pop(request.key, None)
        outcome = perform(call)
        kept = _answer_to_store(outcome, call)
        if kept is not None:
            until = request.time + quirks.key_lifetime_seconds
            self._stored[request.key] = Stored(_fingerprint(request), kept, until)
        return outcome


def _replay(stored: Stored, call: endpoints.Call) -> http_types.Answer:
    reused = call.quirks.reused_key
    if reused == "first_answer" or stored.fingerprint == _fingerprint(call.request):
        return stored.answer
    message = "This key was used for another request."
    return objects.error(call.request, 400 if reused == "bad_request" else 409, "idempotency_key_reused", message)


def _answer_to_store(outcome: http_types.Answer, call: endpoints.Call) -> http_types.Answer | None:
    """Return the answer to store. For a 500, `Quirks.stored_5xx` chooses: the 500, the outcome behind it, or None."""
    mode: str = call.quirks.stored_5xx
    if call.fault not in ("500", "500_after"):
        return outcome
    if mode == "replay":
        return endpoints.failure(call)
    return outcome if mode == "outcome" and call.fault == "500_after" else None


def _fingerprint(request: http_types.Request) -> tuple[str, bytes]:
    return request.path, request.body
