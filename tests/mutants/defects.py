"""What a planted defect is, and those of the engine, the journal, the service and the commands.

Invariant: `before` occurs exactly once in its file; test_defects_list.py checks it. Neighbours: `every_defect` names
the modules that have the others; `__main__` plants them in a copy, one at a time.
"""

import dataclasses

APPLIER = ("tests/engine/test_applier.py", "tests/engine/test_applier_endings.py")
RECONCILER = ("tests/engine/test_reconciler.py", "tests/engine/test_saved_plan.py")
READER = ("tests/engine/test_reader.py", "tests/engine/test_unknown.py", "tests/engine/test_pagination.py")


@dataclasses.dataclass(frozen=True, slots=True)
class Defect:
    """A plausible mistake: `before` becomes `after` in `file`, and one of `tests` must fail."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


DEFECTS = (
    Defect(
        "a new key for every attempt",
        "worker/engine/membership_writer.py",
        "key=pending.intent.key)",
        "key=type(pending.intent.key)(f'{pending.intent.key}-{attempts.count}'))",
        APPLIER,
    ),
    Defect(
        "detaches before attaches",
        "worker/engine/driver_lane.py",
        "key=lambda each: each.intent.change.action.rank)",
        "key=lambda each: -each.intent.change.action.rank)",
        APPLIER,
    ),
    Defect(
        "a detach although the attach failed",
        "worker/engine/driver_lane.py",
        "if self._unattached is not None:",
        "if False and self._unattached is not None:",
        APPLIER,
    ),
    Defect(
        "believing any 200 to a write",
        "worker/engine/membership_writer.py",
        "if change.done_in(reply.driver.fleets):",
        "if reply:",
        APPLIER,
    ),
    Defect(
        "believing an answer that may be a replay",
        "worker/engine/membership_writer.py",
        "        if not attempts.maybe_applied:\n            state.add_reply",
        "        if True:\n            state.add_reply",
        APPLIER,
    ),
    Defect(
        "believing a list of all drivers that left somebody out",
        "worker/engine/driver_reader.py",
        "if self._directory_complete or not ended:",
        "if ended:",
        READER,
    ),
    Defect(
        "writing without asking whether the journal is still ours",
        "worker/engine/membership_writer.py",
        "            await self._journal.check()",
        "            pass",
        APPLIER,
    ),
    Defect(
        "no intents in the journal before the writes",
        "worker/engine/reconciler.py",
        "intents=work.intents,",
        "intents=[],",
        RECONCILER,
    ),
    Defect(
        "taking answers for what Charge holds, without reading back",
        "worker/engine/verification.py",
        "if written and self._cancellation.reason is None:",
        "if not written and self._cancellation.reason is None:",
        RECONCILER,
    ),
    Defect(
        "dropping outcomes that could not be recorded",
        "worker/engine/outcome_writer.py",
        "self._pending = [*group, *self._pending]",
        "pass",
        ("tests/engine/test_cancellation.py",),
    ),
    Defect(
        "following pages in circles",
        "worker/engine/pagination.py",
        "if page.next in followed:",
        "if not followed and page.next in followed:",
        READER,
    ),
    Defect(
        "fighting on, whatever somebody else does",
        "worker/engine/guard_memory.py",
        "most=flap_detection.REVERSALS)",
        "most=flap_detection.REVERSALS - 1)",
        ("tests/engine/test_flapping.py",),
    ),
    Defect(
        "applying a plan that was edited",
        "worker/cli/plan_file.py",
        "if not plan_signature.is_signed(msgspec.json.decode(data), key):",
        "if not plan.digest:",
        ("tests/cli/test_plan_file.py",),
    ),
    Defect(
        "applying a plan however old it is",
        "worker/cli/plan_file.py",
        "if now - created > max_age:",
        "if now - created > max_age * 1000:",
        ("tests/cli/test_plan_file.py",),
    ),
    Defect(
        "a signature without the key",
        "worker/core/model/plan_signature.py",
        "key.reveal().encode(), canonical.encode()",
        "bytes(8), canonical.encode()",
        ("tests/cli/test_plan_file.py",),
    ),
    Defect(
        "two writers of one journal",
        "worker/journal/writer_lock.py",
        "fcntl.LOCK_EX",
        "fcntl.LOCK_SH",
        ("tests/journal",),
    ),
    Defect(
        "commits that a power cut undoes",
        "worker/journal/connection.py",
        'for pragma in ("journal_mode=WAL", "synchronous=FULL"',
        'for pragma in ("journal_mode=WAL", "synchronous=OFF"',
        ("tests/journal",),
    ),
    Defect(
        "forgetting reasons that come during a run",
        "worker/service/triggers.py",
        "        self._pending.add(trigger)\n",
        "",
        ("tests/service",),
    ),
    Defect(
        "ending the service with one run",
        "worker/service/scheduler.py",
        "        except Exception:\n            log.exception(",
        "        except ValueError:\n            log.exception(",
        ("tests/service",),
    ),
    Defect(
        "an answered key where nobody answered",
        "worker/service/state.py",
        "status.Part.CHARGE: (status.Part.JOURNAL, status.Part.SOURCE),",
        "status.Part.CHARGE: tuple(status.Part),",
        ("tests/service",),
    ),
    Defect(
        "letting anybody ask",
        "worker/web/security.py",
        "return token is not None and hmac.compare_digest(",
        "return token is not None or hmac.compare_digest(",
        ("tests/web/test_actions.py",),
    ),
)
