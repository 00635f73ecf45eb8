"""The headers that authorize requests of an `http` source, read from files before each request.

Invariant: no error contains anything of a secret. Neighbours: `secret_files` reads the files, `http_source` sends the
headers.
"""

import base64
import dataclasses
import pathlib
import re

from anyio import to_thread

from worker.sources import fetching, secret_files

_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~]([ -~]*[!-~])?)[ \t]*")
_OURS = re.compile(
    r"(?i)accept-encoding|connection|content-.*|expect|host|if-.*|range|te|trailer|transfer-encoding|upgrade"
)
"""Headers that say what is fetched and how it is framed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Login:
    """Where the secrets are: user and password, a token, or whole header lines."""

    username: str = ""
    password_file: pathlib.Path | None = None
    token_file: pathlib.Path | None = None
    headers_file: pathlib.Path | None = None

    async def headers(self, name: str) -> dict[str, str]:
        """Return the headers, in lower case, for the source of this name. Raises errors.SourceError."""
        return await to_thread.run_sync(self._headers, name, abandon_on_cancel=True)

    def _headers(self, name: str) -> dict[str, str]:
        headers = {}
        if self.headers_file:
            lines = secret_files.read(self.headers_file, name=name, setting="headers_file").reveal()
            headers.update(_parsed(lines, name))
        if self.password_file:
            password = secret_files.read(self.password_file, name=name, setting="password_file").reveal()
            pair = base64.b64encode(f"{self.username}:{password}".encode()).decode("ascii")
            headers["authorization"] = f"Basic {pair}"
        if self.token_file:
            token = secret_files.read(self.token_file, name=name, setting="token_file").reveal()
            if not re.fullmatch(r"[!-~]+", token):
                message = "token_file: the token contains a space or a character that no header may have"
                raise fetching.failure(name, message, code="source_unauthorized")
            headers["authorization"] = f"Bearer {token}"
        return headers


def _parsed(lines: str, name: str) -> dict[str, str]:
    """Parse header lines; blank ones and those that begin with # are ignored."""
    headers: dict[str, str] = {}
    for number, line in enumerate(lines.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _HEADER.fullmatch(line)
        if not found:
            raise fetching.failure(name, f"headers_file: line {number} is not a header like Name: value")
        if _OURS.fullmatch(found[1]):
            raise fetching.failure(name, f"headers_file: line {number} sets a header that fleet-sync sets itself")
        headers[found[1].lower()] = found[2]
    return headers
