"""The addresses that the settings accept.

Invariant: no error repeats an address, because it may contain a password. Neighbours: `model` applies these checks to
its keys, `secrets` to the webhook's address in a file.
"""

import ipaddress
import re
from urllib import parse

from worker.core.model.secret import KEY_PREFIX

SQLITE = "sqlite:///"
POSTGRESQL = "postgresql://"

BASE_URL_PATTERN = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s/:?#@\\][^\s/?#@\\]*(/[^\s?#\\]*)?$"
JOURNAL_PATTERN = rf"^({POSTGRESQL}\S*|{SQLITE}(?!:memory:$)[^?#]*[^?#/])$"
LISTEN_PATTERN = r"^((\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5})?$"
"""Patterns of `base_url`, `journal` and `listen` for the schema: never stricter than the checks below."""

_BASE = "write it like https://api.chargeapi.co/v1"
_WEBHOOK = "write it like https://hooks.example.com/services/…"
_DOCUMENT = "write it like https://hr.example.com/people.csv"
_OBJECT = "write it like s3://bucket/hr/people.csv, gs://bucket/hr/people.csv or az://container/hr/people.csv"
_PROXY = "write it like http://proxy.example.com:3128"
_LISTEN = 'write it like "127.0.0.1:8080" or "[::1]:8080"'

_REPOSITORY = re.compile(r"file:///.+|ssh://([\w.-]+@)?[\w.\[\]:-]+/.+|[\w.-]+@[\w.-]+:[^:].*", re.ASCII)
_LAST_PORT = 65535
_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})", re.ASCII)
_PORT_ONLY = re.compile(r":[0-9]{1,5}", re.ASCII)
_WITHOUT_BRACKETS = re.compile(r"([0-9A-Fa-f:.]+):([0-9]{1,5})", re.ASCII)


def base_url(text: str) -> str:
    """Return the address of the API without a trailing slash. Raises ValueError."""
    split, origin = _split(text, _BASE)
    if "@" in split.netloc:
        raise ValueError(f"the address contains a user or password: {_BASE}, and set the key in CHARGE_API_KEY")
    if "?" in text or "#" in text:
        raise ValueError(f"the address contains a query or fragment: {_BASE}")
    if split.scheme == "http" and not is_loopback(split.hostname or ""):
        raise ValueError("plain http would expose the key to the network: write https (http is for loopback addresses)")
    return f"{origin}{split.path.rstrip('/')}"


def webhook(text: str) -> str:
    """Return the address to post notifications to; empty for none. Raises ValueError.

    Its path and query are often its only protection, so the address is a secret.
    """
    if not text:
        return text
    split, origin = _split(text, _WEBHOOK)
    if "@" in split.netloc:
        raise ValueError(f"the address contains a user or password: {_WEBHOOK}")
    if "#" in text:
        raise ValueError(f"the address contains a fragment: {_WEBHOOK}")
    if KEY_PREFIX in text:
        raise ValueError(f"a Charge key must never be sent to another service: {_WEBHOOK}")
    if split.scheme == "http" and not is_loopback(split.hostname or ""):
        raise ValueError(
            "plain http would expose the notifications to the network: write https (http is for loopback addresses)"
        )
    return f"{origin}{split.path}{f'?{split.query}' if split.query else ''}"


def document(text: str) -> str:
    """Return the address of a document. Raises ValueError."""
    split, origin = _split(text, _DOCUMENT)
    if "@" in split.netloc:
        raise ValueError("the address contains a user or password: write the user in username, the password in a file")
    if "#" in text:
        raise ValueError(f"the address contains a fragment: {_DOCUMENT}")
    if split.scheme == "http" and not is_loopback(split.hostname or ""):
        raise ValueError("plain http can be read and changed on its way: write https (http is for loopback addresses)")
    return f"{origin}{split.path or '/'}{f'?{split.query}' if split.query else ''}"


def repository(text: str) -> str:
    """Return the address of a Git repository. Raises ValueError."""
    if text.startswith(("https:", "http:")):
        return document(text)
    if not text.isprintable() or text.startswith("-") or not _REPOSITORY.fullmatch(text):
        raise ValueError("write it like https://git.example.com/hr/fleets.git or git@git.example.com:hr/fleets.git")
    return text


def bucket(text: str) -> str:
    """Return the address of an object in a bucket. Raises ValueError."""
    split = parse.urlsplit(text)
    if split.scheme not in ("s3", "gs", "az") or not text.isprintable() or "@" in split.netloc or ":" in split.netloc:
        raise ValueError(_OBJECT)
    if not split.netloc or not split.path.strip("/") or split.path.endswith("/") or "?" in text or "#" in text:
        raise ValueError(_OBJECT)
    if {"", ".", ".."} & {*split.path[1:].split("/")}:
        raise ValueError('a key with an empty, "." or ".." segment cannot be read: store the object under another key')
    return text


def store(text: str) -> str:
    """Return the address of a store that speaks the protocol of S3, Google or Azure; empty for none."""
    return document(text).partition("?")[0].rstrip("/") if text else text


def proxy(text: str, *, login: bool = False) -> str:
    """Return the address of an HTTP proxy; empty for none. `login` allows a user and password. Raises ValueError."""
    if not text:
        return text
    split, origin = _split(text, _PROXY)
    if split.scheme != "http":
        raise ValueError(f"only proxies that are reached by plain http are supported: {_PROXY}")
    if split.path.strip("/") or "?" in text or "#" in text:
        raise ValueError(f"the address contains a path, query or fragment: {_PROXY}")
    if KEY_PREFIX in text:
        raise ValueError(f"a Charge key must never be sent to another service: {_PROXY}")
    user, at, _ = split.netloc.rpartition("@")
    if at and not login:
        raise ValueError("the address contains a user or password: write it to a file, and name it in proxy_url_file")
    return f"http://{user}{at}{origin.removeprefix('http://')}"


def journal(text: str) -> str:
    """Return the address of the journal if it is valid. Raises ValueError."""
    if text.startswith(POSTGRESQL) and not any(character.isspace() for character in text):
        return text
    path = text.removeprefix(SQLITE)
    if not text.startswith(SQLITE) or not path or path.endswith("/"):
        raise ValueError(
            f"not a journal: write {SQLITE} and the path of a file, like {SQLITE}fleet-sync.db, or {POSTGRESQL}…"
        )
    if path == ":memory:" or any(mark in path for mark in "?#\0"):
        raise ValueError(f"a journal is a file, without options: write {SQLITE}fleet-sync.db")
    return text


def database(text: str) -> str:
    """Return the address of a cluster's database if it is valid; empty for none. Raises ValueError."""
    if text and (not text.startswith(POSTGRESQL) or any(character.isspace() for character in text)):
        raise ValueError(f"not a database of PostgreSQL: write it like {POSTGRESQL}db.example.com/fleet-sync")
    return text


def listen(text: str) -> str:
    """Return the address to serve the status page at if it is valid; empty for none. Raises ValueError."""
    if text:
        endpoint(text)
    return text


def endpoint(text: str) -> tuple[str, int]:
    """Return host and port of an address. Raises ValueError.

    An IPv6 host is returned without its brackets; port 0 means any free port. The host is required, so that a
    page is never open to other machines by omission.
    """
    found = _ENDPOINT.fullmatch(text)
    if not found:
        raise ValueError(_endpoint_error(text))
    if int(found[3]) > _LAST_PORT:
        raise ValueError(f"the port must not be greater than {_LAST_PORT}: {_LISTEN}")
    if found[1] and not _is_ipv6(found[1]):
        raise ValueError(f"not an IPv6 address: {_LISTEN}")
    return found[1] or found[2], int(found[3])


def _endpoint_error(text: str) -> str:
    """Return why a text is not a host and port. Repeats only ports and IPv6 addresses, which are not secret."""
    if _PORT_ONLY.fullmatch(text):
        return f'the host is missing: {_LISTEN}, or "0.0.0.0{text}" to serve every network of this machine'
    if (found := _WITHOUT_BRACKETS.fullmatch(text)) and _is_ipv6(found[1]):
        return f'an IPv6 address needs brackets: write it like "[{found[1]}]:{found[2]}"'
    return f"not a host and port: {_LISTEN}"


def _split(text: str, hint: str) -> tuple[parse.SplitResult, str]:
    """Return the parts of an http or https address, and its origin in lower case."""
    if not text.isascii() or any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"the address contains a space or a character outside ASCII: {hint}")
    try:
        split = parse.urlsplit(text)
        port = split.port
    except ValueError:
        raise ValueError(f"not a valid address: {hint}") from None
    host = split.hostname or ""
    if split.scheme not in ("http", "https") or not host or "\\" in text:
        raise ValueError(f"not an http or https address: {hint}")
    shown = f"[{host}]" if ":" in host else host
    return split, f"{split.scheme}://{shown}{'' if port is None else f':{port}'}"


def _is_ipv6(text: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
