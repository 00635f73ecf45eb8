"""Tests of access to the pages: an address that other machines reach shows nothing until a token is set."""

import pytest

from worker.core.model.secret import Secret
from worker.service import page_server
from worker.settings import model

TOKEN = Secret("t" * 32)


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "[::1]:8080", "localhost:8080", "127.0.0.2:8080"])
@pytest.mark.parametrize(
    ("token", "chosen", "anonymous"),
    [(None, None, True), (TOKEN, None, False), (None, False, False), (TOKEN, True, True), (TOKEN, False, False)],
)
def test_on_loopback_everyone_reads_until_there_is_a_token(
    listen: str, token: Secret | None, chosen: bool | None, *, anonymous: bool
) -> None:
    access = page_server.access(model.Status(listen=listen, anonymous_read=chosen), token)
    assert (access.token, access.locked, access.anonymous_read) == (token, False, anonymous)
    assert access.hosts >= {"127.0.0.1", "localhost", "::1"} and len(access.hosts) <= 4


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "192.0.2.7:8080", "fleet.example.com:80"])
@pytest.mark.parametrize(
    ("token", "chosen", "anonymous"),
    [(None, None, False), (TOKEN, None, False), (None, True, True), (TOKEN, True, True)],
)
def test_elsewhere_pages_are_locked_until_there_is_a_token(
    listen: str, token: Secret | None, chosen: bool | None, *, anonymous: bool
) -> None:
    access = page_server.access(model.Status(listen=listen, anonymous_read=chosen), token)
    assert (access.token, access.locked, access.anonymous_read) == (token, token is None, anonymous)
    assert access.hosts == frozenset()
