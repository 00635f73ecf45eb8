"""How a source logs in over HTTP, and which secrets it refuses to send."""

import base64
import pathlib
import re

import httpx
import pytest

from tests.sources import http_documents
from worker.core.model.errors import SourceError
from worker.sources import http_login

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


class TestLogin:
    async def sent(self, login: http_login.Login) -> httpx.Headers:
        requests: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(200, content=http_documents.CSV)

        await http_documents.mocked(answer, login=login).read()
        return requests[0].headers

    async def test_user_and_password_are_basic_authentication(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "password").write_text("pässword\n")
        expected = base64.b64encode("hr:pässword".encode()).decode()
        headers = await self.sent(http_login.Login("hr", tmp_path / "password"))
        assert headers["authorization"] == f"Basic {expected}"

    async def test_a_token_is_a_bearer_token(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "token").write_text(f"{http_documents.SECRET}\n")
        headers = await self.sent(http_login.Login(token_file=tmp_path / "token"))
        assert headers["authorization"] == f"Bearer {http_documents.SECRET}"

    async def test_further_headers_come_from_a_file(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "headers").write_text("# of HR\nX-Api-Key: a b\n\nX-Tenant:acme \nUSER-Agent: hr\n")
        headers = await self.sent(http_login.Login(headers_file=tmp_path / "headers"))
        assert (headers["x-api-key"], headers["x-tenant"]) == ("a b", "acme")
        assert headers.get_list("user-agent") == ["hr"]

    async def test_a_new_secret_is_used_at_the_next_reading(self, tmp_path: pathlib.Path) -> None:
        login = http_login.Login(token_file=tmp_path / "token")
        for token in ("one", "two"):
            (tmp_path / "token").write_text(token)
            assert (await self.sent(login))["authorization"] == f"Bearer {token}"

    @pytest.mark.parametrize(
        ("setting", "content", "problem"),
        [
            ("password_file", None, "cannot be read (No such file or directory)"),
            ("password_file", b"", "is empty"),
            ("password_file", b"\xff", "not valid UTF-8"),
            ("password_file", b"x" * 20_000, "contains more than a secret"),
            ("password_file", f"ch_sk_test_{http_documents.SECRET}".encode(), "a Charge key must never be sent"),
            ("token_file", f"{http_documents.SECRET} x".encode(), "a space or a character that no header may have"),
            ("headers_file", f"{http_documents.SECRET}".encode(), "line 1 is not a header like Name: value"),
            (
                "headers_file",
                f"A: {http_documents.SECRET}\n B: {http_documents.SECRET}".encode(),
                "line 2 is not a header",
            ),
            (
                "headers_file",
                f"Host: {http_documents.SECRET}".encode(),
                "line 1 sets a header that fleet-sync sets itself",
            ),
            (
                "headers_file",
                f"Range: {http_documents.SECRET}".encode(),
                "line 1 sets a header that fleet-sync sets itself",
            ),
            (
                "headers_file",
                f"If-None-Match: {http_documents.SECRET}".encode(),
                "sets a header that fleet-sync sets itself",
            ),
        ],
    )
    async def test_a_secret_that_cannot_be_used_is_an_error_without_it(
        self, setting: str, content: bytes | None, problem: str, tmp_path: pathlib.Path
    ) -> None:
        if content is not None:
            (tmp_path / "secret").write_bytes(content)
        login = http_login.Login("hr", **{setting: tmp_path / "secret"})
        with pytest.raises(SourceError, match=re.escape(problem)) as caught:
            await self.sent(login)
        assert http_documents.SECRET not in str(caught.value)

    async def test_a_folder_is_no_secret(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(SourceError, match="is not a regular file"):
            await self.sent(http_login.Login(token_file=tmp_path))
