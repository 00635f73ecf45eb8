"""The kinds of sources that talk to another machine by a protocol: the keys that each has of its own.

Invariant: no key contains a secret; secrets are in files that keys name. Neighbours: `source_kinds` has the other
kinds and the union of all, `urls` says which addresses are accepted.
"""

import posixpath
import re
from typing import Annotated, Literal
from urllib import parse

import pydantic

from worker.settings import source_sections, urls
from worker.sources import fetching


def _user(name: str) -> str:
    if ":" in name:
        raise ValueError("write a user without a colon, which would end the user's name")
    return name


def _ref(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", name) or ".." in name or name.endswith((".lock", "/", ".")):
        raise ValueError("write the name of a branch or tag, such as main")
    return name


def _name(name: str) -> str:
    if not name or not name.isprintable():
        raise ValueError("write a name of printable characters")
    return name


def _host(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", name) or name.startswith("-"):
        raise ValueError("write the name of a host, or its address, without a port")
    return name


def _pattern(path: str) -> str:
    folder, name = posixpath.split(path)
    if not name or "\0" in path:
        raise ValueError("write the path of a file, such as out/people.csv, or out/people_*.csv for the newest")
    if fetching.WILDCARDS & {*folder}:
        raise ValueError("write a pattern for the name only: the folder is fixed")
    return path


class HttpSource(source_sections.DocumentSource):
    """A document at an https address."""

    kind: Literal["http"] = pydantic.Field(description="Kind of source.")
    url: Annotated[str, pydantic.AfterValidator(urls.document)] = pydantic.Field(
        description="Address of the document. Plain http only for loopback addresses."
    )
    username: Annotated[str, pydantic.AfterValidator(_user)] = pydantic.Field(
        default="", description="User for basic authentication."
    )
    password_file: str = pydantic.Field(default="", description="File with the password of the user.")
    token_file: str = pydantic.Field(default="", description="File with a token that is sent as bearer token.")
    headers_file: str = pydantic.Field(
        default="", description="File with further header lines, such as X-Api-Key: and a key."
    )
    ca_file: str = pydantic.Field(
        default="", description="File with certificates of authorities to trust in addition to the well-known ones."
    )
    proxy_url: Annotated[str, pydantic.AfterValidator(urls.proxy)] = pydantic.Field(
        default="", description="HTTP proxy to reach the address through, with CONNECT; empty for none."
    )
    timeout_seconds: source_sections.Timeout = pydantic.Field(
        default=60, description="Deadline of one request, from connecting to the last byte."
    )

    @pydantic.model_validator(mode="after")
    def _one_login(self) -> "HttpSource":
        if bool(self.username) != bool(self.password_file):
            raise ValueError("username and password_file belong together: set both, or neither")
        if self.password_file and self.token_file:
            raise ValueError("password_file and token_file are both sent as Authorization: keep one of the two")
        if self.proxy_url and self.url.startswith("http:"):
            raise ValueError("a proxy would see and could change plain http: write an https url")
        return self

    @pydantic.model_validator(mode="after")
    def _one_origin(self) -> "HttpSource":
        manifest = self.completeness.manifest if self.completeness else ""
        if parse.urlsplit(parse.urljoin(self.url, manifest))[:2] != parse.urlsplit(self.url)[:2]:
            raise ValueError(
                "the manifest must be on the document's server, which the login is for: write a path, as in {path}.json"
            )
        return self

    @property
    def address(self) -> str:
        """Return the address without its query, which may contain a secret."""
        return self.url.partition("?")[0]


class SftpSource(source_sections.DocumentSource):
    """A document on an SFTP server."""

    kind: Literal["sftp"] = pydantic.Field(description="Kind of source.")
    host: Annotated[str, pydantic.AfterValidator(_host)] = pydantic.Field(description="Name or address of the server.")
    port: int = pydantic.Field(default=22, ge=1, le=65_535, description="Port of the server.")
    username: Annotated[str, pydantic.AfterValidator(_name)] = pydantic.Field(description="User to log in as.")
    path: Annotated[str, pydantic.AfterValidator(_pattern)] = pydantic.Field(
        description="Path of a document on the server. Its name may be a pattern, as in out/people_*.csv: the newest."
    )
    key_file: str = pydantic.Field(default="", description="File with the private key to log in with.")
    password_file: str = pydantic.Field(default="", description="File with the password to log in with.")
    known_hosts_file: str = pydantic.Field(
        min_length=1, description="File with the server's key, as ssh-keyscan prints it. No other server is trusted."
    )
    settle_seconds: float = pydantic.Field(
        default=60, ge=0, le=86_400, description="A file that changed within this time counts as being uploaded."
    )
    timeout_seconds: source_sections.Timeout = pydantic.Field(
        default=60, description="Deadline of one reading, from connecting to the last byte."
    )

    @pydantic.model_validator(mode="after")
    def _one_login(self) -> "SftpSource":
        if bool(self.key_file) == bool(self.password_file):
            raise ValueError("set key_file or password_file, and not both")
        return self

    @property
    def address(self) -> str:
        """Return host and path as in an address."""
        return f"sftp://{self.host}/{self.path.lstrip('/')}"


class ObjectSource(source_sections.DocumentSource):
    """An object in S3, Google Cloud Storage or Azure, or in a store that speaks the protocol of one of them."""

    kind: Literal["object"] = pydantic.Field(description="Kind of source.")
    url: Annotated[str, pydantic.AfterValidator(urls.bucket)] = pydantic.Field(
        description="Address of the object: s3://bucket/key, gs://bucket/key or az://container/key."
    )
    region: str = pydantic.Field(default="", description="Region of the bucket, in S3. Empty: that of the environment.")
    endpoint: Annotated[str, pydantic.AfterValidator(urls.store)] = pydantic.Field(
        default="", description="Address of the store, if it is not the provider's own."
    )
    access_key_id: str = pydantic.Field(
        default="", description="Id of the access key in S3, name of the account in Azure."
    )
    secret_file: str = pydantic.Field(
        default="",
        description="File with the secret of the access key in S3, the key of the account in Azure, the JSON of a "
        "service account in Google Cloud. Empty: the credentials of the environment or of the machine.",
    )
    timeout_seconds: source_sections.Timeout = pydantic.Field(
        default=60, description="Deadline of one reading, from connecting to the last byte."
    )

    @pydantic.model_validator(mode="after")
    def _whole_login(self) -> "ObjectSource":
        scheme = self.url.partition(":")[0]
        if scheme == "gs" and self.access_key_id:
            raise ValueError("the file of a service account also names it: remove access_key_id")
        if scheme == "s3" and bool(self.access_key_id) != bool(self.secret_file):
            raise ValueError("access_key_id and secret_file belong together: set both, or neither")
        if scheme == "az" and self.secret_file and not self.access_key_id:
            raise ValueError("set access_key_id to the name of the account whose key secret_file has")
        if scheme != "s3" and self.region:
            raise ValueError("only buckets in S3 have a region: remove it")
        return self

    @property
    def address(self) -> str:
        """Return the address as it is written."""
        return self.url


class GitSource(source_sections.DocumentSource):
    """A document, or a folder of them, in a Git repository."""

    kind: Literal["git"] = pydantic.Field(description="Kind of source.")
    url: Annotated[str, pydantic.AfterValidator(urls.repository)] = pydantic.Field(
        description="Address of the repository: https://…, ssh://…, user@host:path, or file:///…"
    )
    ref: Annotated[str, pydantic.AfterValidator(_ref)] = pydantic.Field(
        default="HEAD", description="Branch or tag; HEAD is the repository's default branch."
    )
    path: str = pydantic.Field(min_length=1, description="Path of a document in the repository, or of a folder.")
    key_file: str = pydantic.Field(default="", description="File with a private key for ssh.")
    known_hosts_file: str = pydantic.Field(
        default="", description="File with the keys of servers to trust, for ssh. Empty: ssh's own files."
    )
    token_file: str = pydantic.Field(default="", description="File with a token for https.")
    require_descendant: bool = pydantic.Field(
        default=True,
        description="Whether changes are held if the commit does not descend from the one that was read before.",
    )
    timeout_seconds: source_sections.Timeout = pydantic.Field(
        default=60, description="How long each call of git may take; it is killed then."
    )

    @pydantic.model_validator(mode="after")
    def _fitting_login(self) -> "GitSource":
        if self.token_file and not self.url.startswith("https:"):
            raise ValueError("a token is for https: write an https url, or a key_file for ssh")
        if (self.key_file or self.known_hosts_file) and self.url.startswith(("http:", "https:", "file:")):
            raise ValueError("keys and known hosts are for ssh: write an ssh url, or a token_file for https")
        why = "a commit has neither manifest nor age; that it is a commit proves that it is complete"
        source_sections.refuse_checks(self.completeness, ("manifest", "max_age_hours"), why)
        return self

    @property
    def address(self) -> str:
        """Return the address with the path in the repository."""
        return f"{self.url}//{self.path.strip('/')}"


Source = HttpSource | SftpSource | ObjectSource | GitSource
"""A source of one of these kinds."""
