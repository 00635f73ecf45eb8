"""Everything that can go wrong, as one tree. Each error says what happened, what to do, and how the command ends.

    FleetSyncError
    ├── SettingsError         the settings file, its overrides or the key are not usable
    ├── SourceError           a source cannot be read whole, or is empty
    ├── DesiredError          the sources contradict each other
    ├── ReadingError          what Charge holds cannot be trusted enough to change anything
    ├── PlanFileError         a saved plan is damaged, or belongs to another account
    ├── JournalError          the journal cannot be opened or written: so nothing is written to Charge either
    │   └── JournalBusy       another process writes to it
    ├── UnknownRun            the journal has no such run
    ├── Stopped               the operator ended the run; what was in flight was finished
    ├── Paused                the process stood still for so long that its plan may be out of date
    └── ChargeError           one request to Charge did not give what was asked for
        ├── Unreachable       no answer, or none that can be understood: the outcome of a write is unknown
        │   ├── NotSent       no connection: the request never left
        │   ├── UnderWay      Charge is still busy with an earlier attempt of the same write
        │   └── ServerFault   a 5xx answer
        ├── RateLimited       429: not done, and everybody slows down
        ├── KeyRejected       401: the run ends at once
        ├── Distrusted        a redirect or a foreign address: not followed
        └── Refused           any other 4xx: not done, and not to be repeated as it is
            ├── NotFound      404
            └── Conflict      409: the state differs from what the write assumed

Invariant: no message ever holds the key. Neighbours: `retry` decides which of these are worth another attempt.
"""

from collections.abc import Sequence

from worker.core.model.problem import Problem


class FleetSyncError(Exception):
    """Any failure that fleet-sync foresees: `code` is stable, `remedy` says what to do, `exit_code` how to end."""

    code: str = "error"
    remedy: str = ""
    exit_code: int = 1

    def __init__(self, message: str, *, code: str = "", remedy: str = "") -> None:
        """Keep the message; `code` and `remedy` default to those of the class."""
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.remedy = remedy or self.remedy


class ProblemsError(FleetSyncError):
    """A failure made of any number of problems, each with its place."""

    def __init__(self, problems: Sequence[Problem], *, remedy: str = "") -> None:
        """Keep all problems in order; the message is one line each."""
        super().__init__("\n".join(str(problem) for problem in problems), remedy=remedy)
        self.problems = tuple(problems)


class SettingsError(ProblemsError):
    """The settings file, its overrides or the key are not usable."""

    code = "settings_invalid"
    remedy = "Correct the settings, then run `fleet-sync check`."


class SourceError(ProblemsError):
    """A source cannot be read whole, or is empty. A partial source is never used."""

    code = "source_invalid"
    remedy = "Correct the source, then run `fleet-sync check`. Nothing was changed."


class DesiredError(ProblemsError):
    """The sources contradict each other."""

    code = "sources_contradict"
    remedy = "Make the sources agree, then run `fleet-sync check`. Nothing was changed."


class ReadingError(FleetSyncError):
    """What Charge holds, or what the references mean there, cannot be trusted enough to change anything."""

    code = "reading_untrusted"
    remedy = "Look at the problems listed with the plan; nothing was changed."


class PlanFileError(FleetSyncError):
    """A saved plan is damaged, was edited, or belongs to another account."""

    code = "plan_invalid"
    remedy = "Make a new plan with `fleet-sync plan --out FILE`. Nothing was changed."


class JournalError(FleetSyncError):
    """The journal cannot be opened or written."""

    code = "journal_unwritable"
    remedy = "Make the journal of `[journal] url` writable, and see that its disk has room."


class JournalBusy(JournalError):
    """Another process writes to the journal."""

    code = "journal_busy"
    remedy = (
        "Wait until that process has ended, or end it: two of them never write at once. If it is a service, "
        "`fleet-sync approve DIGEST` allows what it holds. Nothing was changed."
    )


class UnknownRun(FleetSyncError):
    """The journal has no such run."""

    code = "run_unknown"
    remedy = "`fleet-sync history` lists the runs."


class Stopped(FleetSyncError):
    """The operator ended the run: nothing new was sent after that."""

    code = "stopped"
    remedy = "Run again to continue; the next run starts from what Charge holds then."

    def __init__(self, message: str, *, exit_code: int) -> None:
        """Keep the exit code that tells which signal it was."""
        super().__init__(message)
        self.exit_code = exit_code


class ProcessSuspended(FleetSyncError):
    """The process was stopped and resumed in the middle of writing: nothing new was sent after that."""

    code = "paused"
    remedy = "Run again: the next run starts from what Charge holds then."


class ChargeError(FleetSyncError):
    """One request to Charge did not give what was asked for.

    `status` is the HTTP status where there was an answer; `request_id` (`req_…`) is what Charge's support asks for.
    """

    code = "charge_error"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        remedy: str = "",
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        """Keep what the answer said of itself."""
        super().__init__(message, code=code, remedy=remedy)
        self.status = status
        self.request_id = request_id


class Unreachable(ChargeError):
    """No answer, or none that can be understood. Whether a write took effect is unknown."""

    code = "charge_unreachable"
    remedy = "See that `charge.base_url` is right and reachable from here; look at Charge's status page."


class NotSent(Unreachable):
    """No connection could be made: the request did not go over the wire, and a write took no effect."""

    code = "connection_failed"


class StillProcessing(Unreachable):
    """Charge is still busy with an earlier attempt of the same write: a reading does not yet show what comes of it."""

    code = "under_way"
    remedy = "The next run settles it; if it stays, give Charge's support the request id."


class ServerFault(Unreachable):
    """A 5xx answer, from Charge or a gateway before it. Whether a write took effect is unknown."""

    code = "charge_fault"
    remedy = "Try again later; if it stays, give Charge's support the request id."


class RateLimited(ChargeError):
    """429: the request was not carried out. `retry_after` is in seconds from the answer, where Charge gave it."""

    code = "rate_limit_exceeded"
    remedy = "Lower `rate_limit.requests_per_second`, or let another client of this account finish first."

    def __init__(
        self, message: str, *, retry_after: float | None = None, code: str = "", request_id: str | None = None
    ) -> None:
        """Keep how long Charge asks everybody to wait."""
        super().__init__(message, code=code, status=429, request_id=request_id)
        self.retry_after = retry_after


class KeyRejected(ChargeError):
    """401: the key is missing, wrong or revoked. Nothing more is sent."""

    code = "key_rejected"
    remedy = "Set CHARGE_API_KEY (or CHARGE_API_KEY_FILE) to a valid secret key of this account."


class ForeignOrigin(ChargeError):
    """A redirect or an address on a foreign origin. It was not followed, and received nothing.

    Whether a write that was answered so took effect is unknown.
    """

    code = "foreign_address"
    remedy = "See that `charge.base_url` is Charge's own address, and that no proxy answers in its place."


class RequestRefused(ChargeError):
    """Charge refused the request for its own sake (4xx): repeating it unchanged cannot help."""

    code = "refused"
    remedy = "Look the code up in Charge's API reference."


class NotFound(RequestRefused):
    """404: the driver or the fleet does not exist."""

    code = "not_found"


class Conflict(RequestRefused):
    """409: the state differs from what the request assumed."""

    code = "conflict"
