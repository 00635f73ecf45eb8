"""Everything that can go wrong, as one tree. Each error says what happened, what to do, and the exit code.

    FleetSyncError
    ├── SettingsError         the settings file, its overrides or the key are not usable
    ├── SourceError           a source cannot be read completely, or is empty
    ├── DesiredError          the sources contradict each other
    ├── ReadingError          what Charge holds cannot be trusted enough to change anything
    ├── PlanFileError         a saved plan is damaged, or belongs to another account
    ├── ObserveOnly           the settings forbid changes
    ├── JournalError          the journal cannot be opened or written, so nothing is written to Charge either
    │   ├── JournalBusy       another process writes to it
    │   ├── ForeignJournal    it belongs to another account
    │   └── BelongsToWorkers  the account is one of a cluster
    ├── ClockNotTrusted       this machine's clock differs from Charge's: a run does less
    ├── UnknownRun            the journal has no such run
    ├── UnknownFleet          no source lists the fleet of `--fleet`
    ├── UnknownAccount        the cluster has no such account
    ├── AccountExists         the cluster has the account already, with other settings
    ├── Stopped               a signal ended the run; writes in flight were finished
    ├── ProcessSuspended      the process was suspended for so long that its plan may be out of date
    ├── Paused                writes are paused, so a saved plan is not applied
    ├── ChangeWithheld        a change is no longer to be sent: its source changed or is broken, or writes are paused
    ├── Crashed               a defect ended a run or an account
    └── ChargeError           one request to Charge failed
        ├── Unreachable       no reply, or none that can be understood: the effect of a write is unknown
        │   ├── NotSent       no connection: the request was never sent
        │   ├── OtherVersion      the reply has the format of another version of the API
        │   ├── StillProcessing  Charge is still processing an earlier attempt of the same write
        │   └── ServerFault   a 5xx reply
        ├── RateLimited       429: not done, and all requests slow down
        ├── KeyRejected       401: the run ends at once
        ├── KeyChanged        401, but the key has been read again since, and is another one
        ├── KeyForbidden      403 to a listing, or to several writes in a row: the run ends
        ├── ForeignOrigin     a redirect or a URL on another origin: not followed
        └── RequestRefused    any other 4xx: not done, and repeating it unchanged cannot help
            ├── NotFound      404
            └── Conflict      409: the state differs from what the write assumed

Invariant: no message contains the key. Neighbours: `pacing.retry_policy` decides which of these are retried.
"""

from collections.abc import Sequence

from worker.core.model.problem import Problem


class FleetSyncError(Exception):
    """An expected failure. `code` is stable; `remedy` says what to do."""

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
    """A failure that consists of problems, each with its place."""

    def __init__(self, problems: Sequence[Problem], *, code: str = "", remedy: str = "") -> None:
        """Keep all problems in order; the message is one line each."""
        super().__init__("\n".join(str(problem) for problem in problems), code=code, remedy=remedy)
        self.problems = tuple(problems)


class SettingsError(ProblemsError):
    """The settings file, its overrides or the key are not usable."""

    code = "settings_invalid"
    remedy = "Correct the settings, then run `fleet-sync check`."


_SOURCE_REMEDIES = {
    "source_unreachable": "Restore the source, or correct its address. Nothing was changed.",
    "source_unauthorized": "Give fleet-sync the right to read the source, or correct its secret. Nothing was changed.",
    "source_incomplete": "Let the export finish, or run it again. Nothing was changed.",
    "source_stale": "Find out why the export does not run. Nothing was changed.",
    "source_timeout": "Find out why the source is slow, or raise its `timeout_seconds`. Nothing was changed.",
    "source_too_large": "Split the document into several in a folder. Nothing was changed.",
    "source_changed": "Write a new version elsewhere and rename it into place. Nothing was changed.",
}


class SourceError(ProblemsError):
    """A source cannot be read completely, or is empty. A partial source is never used."""

    code = "source_invalid"
    remedy = "Correct the source, then run `fleet-sync check`. Nothing was changed."

    def __init__(self, problems: Sequence[Problem], *, code: str = "", remedy: str = "") -> None:
        """Keep the problems; the remedy defaults to that of the code."""
        super().__init__(problems, code=code, remedy=remedy or _SOURCE_REMEDIES.get(code, ""))


class DesiredError(ProblemsError):
    """The sources contradict each other."""

    code = "sources_contradict"
    remedy = "Make the sources agree, then run `fleet-sync check`. Nothing was changed."


class ReadingError(FleetSyncError):
    """What Charge holds, or what the references mean there, is not certain enough to change anything."""

    code = "reading_untrusted"
    remedy = "Solve the problems listed with the plan. Nothing was changed."


class PlanFileError(FleetSyncError):
    """A saved plan is damaged, was edited, or belongs to another account."""

    code = "plan_invalid"
    remedy = "Create a new plan with `fleet-sync plan --out FILE`. Nothing was changed."


class ObserveOnly(FleetSyncError):
    """The settings forbid changes, and a saved plan cannot be applied."""

    code = "observe_only"
    remedy = "Set `apply = true` in the section `[sync]` of the settings. Nothing was changed."
    exit_code = 3


class JournalError(FleetSyncError):
    """The journal cannot be opened or written."""

    code = "journal_unwritable"
    remedy = "Make the journal of `[journal] url` writable, and check that its disk is not full."


class JournalBusy(JournalError):
    """Another process writes to the journal."""

    code = "journal_busy"
    remedy = (
        "Wait until that process has ended, or stop it: only one process writes at a time. If it is a service, "
        "`fleet-sync approve DIGEST` approves the changes that it holds. Nothing was changed."
    )


class ForeignJournal(JournalError):
    """The journal belongs to another account."""

    code = "journal_of_another_account"
    remedy = (
        "Correct `charge.base_url`, the key or `[journal] url`. To use this journal for the new account, pass"
        " `--adopt-journal`: `fleet-sync plan --adopt-journal` shows what would change. Nothing was changed."
    )


class BelongsToWorkers(JournalError):
    """The account is one of a cluster, whose workers write to its journal."""

    code = "belongs_to_workers"
    remedy = "Pass --config with the folder of the cluster and --account NAME, or use another journal."


class ClockNotTrusted(FleetSyncError):
    """This machine's clock differs from Charge's. The run goes on, without what depends on the time."""

    code = "clock_not_trusted"
    remedy = "Set this machine's clock, and keep it right with NTP."


class UnknownRun(FleetSyncError):
    """The journal has no such run."""

    code = "run_unknown"
    remedy = "`fleet-sync history` lists the runs."


class UnknownFleet(FleetSyncError):
    """`--fleet` names a fleet that no source lists, or several."""

    code = "fleet_unknown"
    remedy = "Name a fleet that a source lists, by its id or its exact name. Nothing was changed."


class UnknownAccount(FleetSyncError):
    """The cluster has no such account."""

    code = "unknown_account"
    remedy = "`fleet-sync accounts list` prints the accounts."


class AccountExists(FleetSyncError):
    """The cluster has the account already, with other settings."""

    code = "account_exists"
    remedy = "Pass --replace to replace its settings."


class Stopped(FleetSyncError):
    """A signal ended the run. No new request was sent after it."""

    code = "stopped"
    remedy = "Run again to continue: the next run starts with a new reading."

    def __init__(self, message: str, *, exit_code: int) -> None:
        """Keep the exit code, which depends on the signal."""
        super().__init__(message)
        self.exit_code = exit_code


class ProcessSuspended(FleetSyncError):
    """The process was suspended and resumed during a run. No new request was sent after it."""

    code = "paused"
    remedy = "Run again: the next run starts with a new reading."


class Paused(FleetSyncError):
    """Writes are paused, so a saved plan is not applied. Nothing was sent."""

    code = "writes_paused"
    exit_code = 3
    remedy = "Wait, end the pause with `fleet-sync resume`, or apply the plan all the same with `--during-pause`."


class ChangeWithheld(FleetSyncError):
    """A change that must not be sent any more: its source changed or cannot be read, or writes are paused."""

    code = "superseded"
    remedy = "Run again: the next run starts from what the sources say then."


class Crashed(FleetSyncError):
    """A defect ended a run or an account; the process goes on."""

    code = "crashed"
    remedy = "The traceback is in the log: please report it."


class ChargeError(FleetSyncError):
    """One request to Charge failed.

    `status` is the HTTP status, if there was a reply; Charge's support asks for the `request_id` (`req_…`).
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
        """Keep the details of the reply."""
        super().__init__(message, code=code, remedy=remedy)
        self.status = status
        self.request_id = request_id


class Unreachable(ChargeError):
    """No reply, or none that can be understood. Whether a write took effect is unknown."""

    code = "charge_unreachable"
    remedy = "Check that `charge.base_url` is correct and reachable from here, and look at Charge's status page."


class NotSent(Unreachable):
    """The request was not sent, and a write took no effect: no connection could be made, or making it took too long."""

    code = "connection_failed"


class OtherVersion(Unreachable):
    """A reply in the format of another version of the API. Another attempt gets the same."""

    code = "api_version"
    remedy = "Check `charge.api_version`, and that no proxy or gateway removes the header Charge-Version."


class StillProcessing(Unreachable):
    """Charge is still processing an earlier attempt of the same write. A reading does not show its effect yet."""

    code = "under_way"
    remedy = "The next run finds out; if this persists, give Charge's support the request id."


class ServerFault(Unreachable):
    """A 5xx reply, from Charge or a gateway in front of it. Whether a write took effect is unknown."""

    code = "charge_fault"
    remedy = "Try again later; if this persists, give Charge's support the request id."


class RateLimited(ChargeError):
    """429: the request was not carried out. `retry_after` is in seconds from the reply, if Charge sent it."""

    code = "rate_limit_exceeded"
    remedy = "Lower `rate_limit.requests_per_second`, or wait until other clients of this account have finished."

    def __init__(
        self, message: str, *, retry_after: float | None = None, code: str = "", request_id: str | None = None
    ) -> None:
        """Keep how long Charge asks all clients to wait."""
        super().__init__(message, code=code, status=429, request_id=request_id)
        self.retry_after = retry_after


class KeyRejected(ChargeError):
    """401: the key is missing, wrong or revoked. The run sends nothing more."""

    code = "key_rejected"
    remedy = "Set CHARGE_API_KEY (or CHARGE_API_KEY_FILE) to a valid secret key of this account."


class KeyChanged(ChargeError):
    """401, but another key has been read since: not done, and worth another attempt at once."""

    code = "key_changed"
    remedy = KeyRejected.remedy


class KeyForbidden(ChargeError):
    """403 to a listing, or to several writes in a row: the key lacks a permission. The run sends nothing more."""

    code = "key_forbidden"
    remedy = "Use a secret key that may read drivers and fleets, and attach and detach drivers."


class ForeignOrigin(ChargeError):
    """A redirect or a URL on another origin. It was not followed, and that origin received nothing.

    Whether a write with such a reply took effect is unknown.
    """

    code = "foreign_address"
    remedy = "Check that `charge.base_url` is Charge's own address, and that no proxy answers instead."


class RequestRefused(ChargeError):
    """Charge rejected this request in particular (4xx): repeating it unchanged cannot help."""

    code = "refused"
    remedy = "Look up the code in Charge's API reference."


class NotFound(RequestRefused):
    """404: the driver or the fleet does not exist."""

    code = "not_found"


class Conflict(RequestRefused):
    """409: the state differs from what the request assumed."""

    code = "conflict"
