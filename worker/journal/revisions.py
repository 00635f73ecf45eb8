"""Which forms of the journal there were, and what to do about the one that is found.

Invariant: the last one is what `schema` says; each has its script in `migrations`. Neighbours: `glance` and `upgrade`
ask.
"""

from worker.core.model.errors import JournalError

REVISIONS = ("0001",)
"""Every form, the oldest first."""

HEAD = REVISIONS[-1]


def current(found: str | None, *, shown: str) -> bool:
    """Tell whether a journal of this form (`None`: without any) can be used as it is, or must be brought up to date.

    Raises errors.JournalError where a newer version made it.
    """
    if found is not None and found not in REVISIONS:
        raise JournalError(
            f"the journal {shown} was made by a newer version (its form is {found}, this version knows {HEAD})",
            code="journal_newer",
            remedy="Upgrade fleet-sync to the version that last used this journal. Nothing was changed.",
        )
    return found == HEAD
