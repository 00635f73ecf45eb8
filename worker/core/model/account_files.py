"""The settings files of a folder of accounts as values: which changed, and which values no two accounts may share.

Invariant: a file takes effect once it has been the same in two scans in a row: one that is still being written may be
cut short and yet be valid. Neighbours: `settings.account_folder` scans the folder, `service.account_supervisor` acts
on the changes.
"""

import dataclasses
from collections.abc import Iterable, Mapping

Signature = tuple[int, ...]
"""What changes when a file is written: its inode, its size and its time of change."""

Scan = Mapping[str, Signature]
"""The files of one scan, by name."""


@dataclasses.dataclass(frozen=True, slots=True)
class FileChanges:
    """The names of files that appeared, differ, or are gone, each in order."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def compare(known: Scan, before: Scan, present: Scan) -> FileChanges:
    """Return what changed since `known`; `before` is the scan before `present`, in which a file must be the same."""
    settled = {name for name, signature in present.items() if before.get(name) == signature}
    return FileChanges(
        added=tuple(sorted(settled - known.keys())),
        changed=tuple(sorted(name for name in settled & known.keys() if known[name] != present[name])),
        removed=tuple(sorted(known.keys() - present.keys() - before.keys())),
    )


class Claims:
    """What accounts may not share, such as a journal or a key: the first account that claims it keeps it."""

    def __init__(self) -> None:
        """Start without claims."""
        self._owners: dict[tuple[str, ...], str] = {}
        self._claimed: dict[str, tuple[tuple[str, ...], ...]] = {}

    def claim(self, name: str, wanted: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], str] | None:
        """Claim all of `wanted` for an account, in place of what it had; return None.

        If another account has one of them, return that one with its owner, and change nothing.
        """
        fresh = tuple(wanted)
        for each in fresh:
            owner = self._owners.get(each, name)
            if owner != name:
                return each, owner
        self.release(name)
        self._owners.update(dict.fromkeys(fresh, name))
        self._claimed[name] = fresh
        return None

    def release(self, name: str) -> None:
        """Forget the claims of an account."""
        for each in self._claimed.pop(name, ()):
            self._owners.pop(each, None)
