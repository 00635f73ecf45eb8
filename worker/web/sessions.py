"""Sessions of people who signed in to the page: a cookie that cannot be made without the token.

Invariant: a cookie is valid for 12 hours, also after a restart, and as long as the token stays the same; what a session
may do, it may do only with its form token, which another site's page cannot know. Neighbours: `actions` checks both,
`pages` shows who is signed in. The name is what the person entered: nothing verifies it.
"""

import base64
import dataclasses
import datetime
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from typing import Final

from starlette import requests, responses

from worker.core.model.people import clean
from worker.core.model.secret import Secret

COOKIE: Final = "fleet_sync_session"
LIFETIME: Final = datetime.timedelta(hours=12)
LONGEST_NAME: Final = 80

Now = Callable[[], datetime.datetime]


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """A person who signed in, and the token that this person's forms must carry."""

    name: str
    form_token: str


class Sessions:
    """Makes and reads the cookies."""

    def __init__(self, token: Secret | None, *, now: Now) -> None:
        """Take the token, and the clock that says when a session ends."""
        secret = secrets.token_bytes(32) if token is None else token.reveal().encode()
        self._key = _mac(secret, "fleet-sync session 1")
        self._now = now

    def sign_in(self, response: responses.Response, name: str, *, secure: bool) -> None:
        """Set the cookie of a session for `name`; a `secure` one is sent over TLS only."""
        expires = int((self._now() + LIFETIME).timestamp())
        payload = base64.urlsafe_b64encode(json.dumps([clean(name)[:LONGEST_NAME], expires]).encode()).decode()
        response.set_cookie(
            COOKIE,
            f"{payload}.{_mac(self._key, payload).hex()}",
            max_age=int(LIFETIME.total_seconds()),
            httponly=True,
            samesite="strict",
            secure=secure,
        )

    def sign_out(self, response: responses.Response) -> None:
        """Delete the cookie."""
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")

    def of(self, request: requests.Request) -> Session | None:
        """Return the session of a request, or None if it has no valid cookie."""
        payload, _, signature = request.cookies.get(COOKIE, "").partition(".")
        if not _same(signature, _mac(self._key, payload).hex()):
            return None
        name, expires = json.loads(base64.urlsafe_b64decode(payload))
        if self._now().timestamp() >= expires:
            return None
        return Session(name, _mac(self._key, f"form {payload}").hex())


def form_token_matches(session: Session, token: str) -> bool:
    """Return whether a form comes from a page of this session, in constant time."""
    return _same(token, session.form_token)


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(errors="replace"), right.encode())


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(errors="replace"), hashlib.sha256).digest()
