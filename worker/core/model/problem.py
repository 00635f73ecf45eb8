"""Problems: what the operator should know, each with its place.

Invariant: problems sort by file, line and column as numbers: line 3 before line 10. Neighbours: `errors` carries them
if a run cannot continue, `plan` if it can.
"""

import dataclasses
import enum
import re

_PLACE = re.compile(r"(.*):([0-9]{1,9}):([0-9]{1,9})", re.DOTALL)


class ProblemCode(enum.StrEnum):
    """What a problem is about, as programs recognise it."""

    UNRESOLVED_DRIVER = "unresolved_driver"
    UNRESOLVED_FLEET = "unresolved_fleet"
    UNKNOWN_TIME_ZONE = "unknown_time_zone"
    INCOMPLETE_LISTING = "incomplete_listing"
    CLOCK_NOT_TRUSTED = "clock_not_trusted"
    SCOPE_SHRANK = "scope_shrank"
    DRIVER_IGNORED = "driver_ignored"
    FLEETS_LEFT_OUT = "fleets_left_out"
    DUPLICATE_ROW = "duplicate_row"
    HIDDEN_ROWS = "hidden_rows"
    FLEET_NOT_DECLARED = "fleet_not_declared"
    DETACH_DELAYED = "detach_delayed"
    NOT_UNDONE = "not_undone"
    PAUSED = "paused"
    JOURNAL_NEW = "journal_new"
    UNCLEAR_WRITE = "unclear_write"
    NOT_READ_BACK = "not_read_back"
    NOT_CONVERGING = "not_converging"
    NOT_AS_WANTED = "not_as_wanted"
    INVALID = "invalid"
    """A mistake in settings or sources, which ends the run as an error."""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A message for the operator and its place (`file:line:column`, an id or a setting).

    A `note` is harmless and needs no action. It does not count in comparisons, and neither does `code`. Some problems
    have a `remedy`.
    """

    where: str
    message: str
    note: bool = dataclasses.field(default=False, compare=False)
    code: ProblemCode = dataclasses.field(default=ProblemCode.INVALID, compare=False)
    remedy: str = ""

    def __str__(self) -> str:
        """Return the problem as one line, with its remedy."""
        return f"{self.where}: {self.message}" + (f". {self.remedy}" if self.remedy else "")

    def __lt__(self, other: "Problem") -> bool:
        """Compare by `order`."""
        return self.order < other.order

    @property
    def order(self) -> tuple[str, int, int, str, str]:
        """Return the sort key: by file, then by line and column as numbers."""
        found = _PLACE.fullmatch(self.where)
        name, line, column = found.groups() if found else (self.where, 0, 0)
        return (name, int(line), int(column), self.where, self.message)
