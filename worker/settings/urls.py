"""Which addresses the settings accept.

Invariant: whatever is refused is refused without being repeated, for an address may carry a password.
Neighbours: `model` applies these to its keys.
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
"""What `base_url`, `journal` and `listen` accept, as far as a pattern says it plainly: for the schema."""

_BASE = "write it like https://api.chargeapi.co/v1"
_HOOK = "write it like https://hooks.example.com/services/…"
_LISTEN = 'write it like "127.0.0.1:8080" or "[::1]:8080"'

_LAST_PORT = 65535
_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})", re.ASCII)
_NO_HOST = re.compile(r":[0-9]{1,5}", re.ASCII)
_NO_BRACKETS = re.compile(r"([0-9A-Fa-f:.]+):([0-9]{1,5})", re.ASCII)


def base_url(text: str) -> str:
    """Check the address of the API and give it without a slash at its end. Raises ValueError."""
    split, origin = _web(text, _BASE)
    if "@" in split.netloc:
        raise ValueError(f"a user or password in the address: {_BASE}, and give the key in CHARGE_API_KEY")
    if "?" in text or "#" in text:
        raise ValueError(f"a query or fragment in the address: {_BASE}")
    if split.scheme == "http" and not loopback(split.hostname or ""):
        raise ValueError("plain http would show the key to the network: write https (http is for loopback addresses)")
    return f"{origin}{split.path.rstrip('/')}"


def webhook(text: str) -> str:
    """Check the address that notices are posted to; empty is none. Raises ValueError.

    Its path and query are often all that keeps strangers out, so it is a secret.
    """
    if not text:
        return text
    split, origin = _web(text, _HOOK)
    if "@" in split.netloc:
        raise ValueError(f"a user or password in the address: {_HOOK}")
    if "#" in text:
        raise ValueError(f"a fragment in the address: {_HOOK}")
    if KEY_PREFIX in text:
        raise ValueError(f"a Charge key never leaves for another place: {_HOOK}")
    if split.scheme == "http" and not loopback(split.hostname or ""):
        raise ValueError("plain http would show the notices to the network: write https (http is for loopback)")
    return f"{origin}{split.path}{f'?{split.query}' if split.query else ''}"


def journal(text: str) -> str:
    """Check the address of the journal. Raises ValueError."""
    if text.startswith(POSTGRESQL) and not any(character.isspace() for character in text):
        return text
    path = text.removeprefix(SQLITE)
    if not text.startswith(SQLITE) or not path or path.endswith("/"):
        raise ValueError(
            f"this is no journal: write {SQLITE} and the path of a file, like {SQLITE}fleet-sync.db, or {POSTGRESQL}…"
        )
    if path == ":memory:" or any(mark in path for mark in "?#\0"):
        raise ValueError(f"a journal is a file, without options: write {SQLITE}fleet-sync.db")
    return text


def listen(text: str) -> str:
    """Check the address of the status server; empty is none. Raises ValueError."""
    if text:
        endpoint(text)
    return text


def endpoint(text: str) -> tuple[str, int]:
    """Give the host, an IPv6 address without its brackets, and the port, of which 0 is any free one. Raises ValueError.

    The host must be there: to serve more than this machine is said in full, as in 0.0.0.0:8080.
    """
    found = _ENDPOINT.fullmatch(text)
    if not found:
        raise ValueError(_no_endpoint(text))
    if int(found[3]) > _LAST_PORT:
        raise ValueError(f"a port is a number up to {_LAST_PORT}: {_LISTEN}")
    if found[1] and not _ipv6(found[1]):
        raise ValueError(f"this is no IPv6 address: {_LISTEN}")
    return found[1] or found[2], int(found[3])


def _no_endpoint(text: str) -> str:
    """Say what a text lacks to be a host and port; only a port and an IPv6 address are repeated: they are no secret."""
    if _NO_HOST.fullmatch(text):
        return f'the host is missing: {_LISTEN}, or "0.0.0.0{text}" to serve every network of this machine'
    if (found := _NO_BRACKETS.fullmatch(text)) and _ipv6(found[1]):
        return f'an IPv6 address stands in brackets: write it like "[{found[1]}]:{found[2]}"'
    return f"this is no host and port: {_LISTEN}"


def _web(text: str, how: str) -> tuple[parse.SplitResult, str]:
    """Split an address of the web; also give its origin, in lower case."""
    if not text.isascii() or any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"a space or a foreign character in the address: {how}")
    try:
        split = parse.urlsplit(text)
        port = split.port
    except ValueError:
        raise ValueError(f"this is no address: {how}") from None
    host = split.hostname or ""
    if split.scheme not in ("http", "https") or not host or "\\" in text:
        raise ValueError(f"this is no address of the web: {how}")
    shown = f"[{host}]" if ":" in host else host
    return split, f"{split.scheme}://{shown}{'' if port is None else f':{port}'}"


def _ipv6(text: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def loopback(host: str) -> bool:
    """Tell whether only this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
