"""Which addresses the settings accept.

Invariant: whatever is refused is refused without being repeated, for an address may carry a password.
Neighbours: `model` applies these to its keys.
"""

import ipaddress
from urllib import parse

SQLITE = "sqlite:///"
POSTGRESQL = "postgresql://"

_BASE = "write it like https://api.chargeapi.co/v1"


def base_url(text: str) -> str:
    """Check the address of the API and give it without a slash at its end. Raises ValueError."""
    if not text.isascii() or any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"a space or a foreign character in the address: {_BASE}")
    try:
        split = parse.urlsplit(text)
        port = split.port
    except ValueError:
        raise ValueError(f"this is no address: {_BASE}") from None
    host = split.hostname or ""
    if split.scheme not in ("http", "https") or not host or "\\" in text:
        raise ValueError(f"this is no address of an API: {_BASE}")
    if "@" in split.netloc:
        raise ValueError(f"a user or password in the address: {_BASE}, and give the key in CHARGE_API_KEY")
    if "?" in text or "#" in text:
        raise ValueError(f"a query or fragment in the address: {_BASE}")
    if split.scheme == "http" and not _loopback(host):
        raise ValueError("plain http would show the key to the network: write https (http is for loopback addresses)")
    shown = f"[{host}]" if ":" in host else host
    return f"{split.scheme}://{shown}{'' if port is None else f':{port}'}{split.path.rstrip('/')}"


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
    """Check the address of the status server. Raises ValueError."""
    if text:
        raise ValueError('this version has no status server yet: write listen = ""')
    return text


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
