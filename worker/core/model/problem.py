"""Describe something that the operator should know, and where it is.

Invariant: problems sort as somebody reads a file: line 3 before line 10. Neighbours: `errors` carries them when a run
cannot go on, `plan` when it can.
"""

import dataclasses
import re

_PLACE = re.compile(r"(.*):([0-9]{1,9}):([0-9]{1,9})", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Something the operator should know: where it stands (`file:line:column`, an id, a setting) and what it is.

    A `note` is harmless: nothing waits for anybody to solve it. That is not written down, and tells no two apart.
    Problems are sorted as somebody reads a file who corrects it: line 3 before line 10.
    """

    where: str
    message: str
    note: bool = dataclasses.field(default=False, compare=False)

    def __str__(self) -> str:
        """Write the problem as one line."""
        return f"{self.where}: {self.message}"

    def __lt__(self, other: "Problem") -> bool:
        """Tell whether this problem comes before another one."""
        return self.order < other.order

    @property
    def order(self) -> tuple[str, int, int, str, str]:
        """Give the place in every list: by file, then by line and column as numbers."""
        found = _PLACE.fullmatch(self.where)
        name, line, column = found.groups() if found else (self.where, 0, 0)
        return (name, int(line), int(column), self.where, self.message)
