"""The groups of a directory as a source: pages, and groups in groups.

Invariant: a group is read whole or not at all: every listing says how many members it has.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Literal, TypeVar

import anyio
import httpx
import pydantic

from worker.sources import plugin

_SECONDS = 30.0
"""How long one request may take."""

T = TypeVar("T", bound=pydantic.BaseModel)


class DirectorySettings(plugin.Settings):
    """The keys of `kind = "directory"`."""

    url: str = pydantic.Field(pattern=r"^(https://|http://127\.0\.0\.1:)[^/]+$")
    token_file: str
    groups: Mapping[str, str] = pydantic.Field(min_length=1)
    """The group that each fleet gets its drivers from, by id."""


class Member(pydantic.BaseModel):
    """A person, or a group whose members count too."""

    type: Literal["person", "group"]
    id: str
    email: str = ""


class Page(pydantic.BaseModel):
    """One page of the members of a group. `next` is where the next page begins."""

    members: list[Member]
    total: int
    next: str | None


class Revision(pydantic.BaseModel):
    """Changes with every change of the directory."""

    revision: str


@dataclasses.dataclass(frozen=True, slots=True)
class DirectoryFetcher:
    """Implements plugin.Fetcher."""

    settings: DirectorySettings
    context: plugin.Context

    async def fetch(self) -> plugin.Fetched:
        """Read all groups, as they were at one moment."""
        async with await self._client() as client:
            before = await self._get(client, "/revision", Revision)
            fleets = {fleet: sorted(await self._people(client, group)) for fleet, group in self.settings.groups.items()}
            if await self._get(client, "/revision", Revision) != before:
                raise self._failure("the directory changed while it was read", code="source_changed")
        if not any(fleets.values()):
            raise self._failure("no group has a member", code="source_empty")
        document = json.dumps({"fleets": fleets}, ensure_ascii=False).encode()
        return plugin.Fetched((plugin.Document(self.context.name, document, suffix=".json"),))

    async def peek(self) -> str:
        """Return the directory's revision."""
        async with await self._client() as client:
            return (await self._get(client, "/revision", Revision)).revision

    async def _people(self, client: httpx.AsyncClient, group: str) -> set[str]:
        """Return the e-mail addresses in a group and in the groups in it, which may contain each other."""
        people, seen, waiting = set[str](), {group}, [group]
        while waiting:
            for member in await self._members(client, waiting.pop()):
                if member.type == "person":
                    people.add(member.email)
                elif member.id not in seen:
                    seen.add(member.id)
                    waiting.append(member.id)
        return people

    async def _members(self, client: httpx.AsyncClient, group: str) -> list[Member]:
        members: list[Member] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await self._get(client, f"/groups/{group}/members?after={cursor}", Page)
            members += page.members
            if len(members) > page.total:
                break
            cursor = page.next
        if len(members) != page.total:
            message = f"group {group} has {page.total} members, and {len(members)} were listed"
            raise self._failure(message, code="source_incomplete")
        return members

    async def _get(self, client: httpx.AsyncClient, path: str, shape: type[T]) -> T:
        try:
            with anyio.fail_after(_SECONDS):
                reply = await client.get(path)
        except TimeoutError:
            raise self._failure(f"no reply within {_SECONDS:g} s", code="source_timeout") from None
        except httpx.RemoteProtocolError:
            raise self._failure("a reply was cut short", code="source_incomplete") from None
        except httpx.HTTPError:
            raise self._failure("the directory cannot be reached", code="source_unreachable") from None
        if reply.status_code in (401, 403):
            raise self._failure("the directory refused the token", code="source_unauthorized")
        if reply.status_code != 200:
            raise self._failure(f"the directory answered {reply.status_code}", code="source_unreachable")
        try:
            return shape.model_validate_json(reply.content)
        except pydantic.ValidationError:
            message = "a reply is not what was expected, or was cut short"
            raise self._failure(message, code="source_incomplete") from None

    async def _client(self) -> httpx.AsyncClient:
        token = await self.context.secret(self.settings.token_file, setting="token_file")
        secure = self.settings.url.startswith("https:")
        return httpx.AsyncClient(
            base_url=self.settings.url,
            headers={"Authorization": f"Bearer {token.reveal()}", "User-Agent": self.context.user_agent},
            verify=self.context.ssl_context() if secure else False,
            trust_env=False,
            timeout=None,  # noqa: S113 - each request has a deadline as a whole
        )

    def _failure(self, message: str, *, code: plugin.Code) -> Exception:
        return plugin.failure(self.context.name, message, code=code)


KIND = plugin.Kind(DirectorySettings, DirectoryFetcher, address=lambda settings: settings.url)
