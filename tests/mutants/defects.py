"""The planted defects: what each breaks, where, and which tests must fail.

Invariant: `before` occurs exactly once in its file; test_defects_list.py checks it. Neighbours:
`former_survivors` has more; `__main__` plants them in a copy, one at a time.
"""

import dataclasses

APPLIER = ("tests/engine/test_applier.py", "tests/engine/test_applier_endings.py")
RECONCILER = ("tests/engine/test_reconciler.py", "tests/engine/test_saved_plan.py")
PLANNER = ("tests/core/test_planner.py", "tests/core/test_planner_stories.py")
READER = ("tests/engine/test_reader.py", "tests/engine/test_unknown.py", "tests/engine/test_pagination.py")
EXECUTOR = ("tests/engine/test_request_executor.py",)


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
        "forgetting whom a reference led to",
        "worker/core/planning/planner.py",
        "before=_driver_before(row.driver, remembered)",
        "before=None",
        PLANNER,
    ),
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
        "counting requests that never left",
        "worker/engine/request_executor.py",
        "sent_requests = 0 if isinstance(error, NotSent) else 1",
        "sent_requests = 1",
        EXECUTOR,
    ),
    Defect(
        "believing a list of all drivers that left somebody out",
        "worker/engine/driver_reader.py",
        "if self._directory_complete or not ended:",
        "if ended:",
        READER,
    ),
    Defect(
        "an id of a saved plan that leads to another path",
        "worker/charge/client.py",
        "if not _ID.fullmatch(name):",
        "if not name:",
        ("tests/charge",),
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
        "leaving open what an earlier life left open",
        "worker/core/planning/observation.py",
        "if fleets is not None and change.done_in(fleets):",
        "if False and fleets is not None and change.done_in(fleets):",
        ("tests/core", "tests/engine/test_reconciler.py"),
    ),
    Defect(
        "dropping outcomes that could not be recorded",
        "worker/engine/outcome_writer.py",
        "self._pending = [*group, *self._pending]",
        "pass",
        ("tests/engine/test_cancellation.py",),
    ),
    Defect(
        "going on after a rejected key",
        "worker/engine/request_executor.py",
        "            self.cancellation.request_stop(error)",
        "            pass",
        (*EXECUTOR, *APPLIER),
    ),
    Defect(
        "retrying a 403",
        "worker/core/pacing/retry_policy.py",
        "RateLimited | Unreachable)",
        "Exception)",
        ("tests/core/test_retry_policy.py",),
    ),
    Defect(
        "forgetting Retry-After",
        "worker/engine/rate_limiter.py",
        "if retry_after is not None:",
        "if retry_after is None:",
        ("tests/engine/test_rate_limiter.py",),
    ),
    Defect(
        "a longer pause for each 429 of the same moment",
        "worker/engine/rate_limiter.py",
        "if now >= self._closed_until or seconds > self._pause:",
        "if seconds >= 0:",
        ("tests/engine/test_rate_limiter.py",),
    ),
    Defect(
        "a burst before the limit is known",
        "worker/engine/rate_limiter.py",
        "        self._bucket.even = not self._estimator.knows_limit\n        self._closed_until",
        "        self._closed_until",
        ("tests/engine/test_rate_limiter.py",),
    ),
    Defect(
        "no ceiling",
        "worker/engine/rate_limiter.py",
        "            self._bucket.take()",
        "            pass",
        ("tests/engine/test_rate_limiter.py",),
    ),
    Defect(
        "following a page to a foreign origin",
        "worker/charge/transport.py",
        "ours = _origin(address) == _origin(self._base) and not address.userinfo",
        "ours = not address.userinfo",
        ("tests/charge",),
    ),
    Defect(
        "keeping the parser of a connection, with what followed the last reply",
        "worker/charge/connection.py",
        "        self._http = httpcore.AsyncHTTP11Connection(",
        "        self._http = self._http or httpcore.AsyncHTTP11Connection(",
        ("tests/charge/test_hostile_server.py",),
    ),
    Defect(
        "using a connection again although TLS has another record for it",
        "worker/charge/connection.py",
        " and not _has_unread(self._stream):",
        ":",
        ("tests/charge/test_secure_network.py",),
    ),
    Defect(
        "leaving out a driver whose object cannot be read",
        "worker/charge/pages.py",
        "                malformed.append(identity)",
        "                pass",
        ("tests/charge/test_pages.py",),
    ),
    Defect(
        "using a key of another mode after a 401",
        "worker/charge/key_renewal.py",
        " or key.mode != rejected.mode:",
        ":",
        ("tests/charge/test_key_renewal.py",),
    ),
    Defect(
        "reading the key again at every 401",
        "worker/charge/key_renewal.py",
        "            self._available = False",
        "            pass",
        ("tests/charge/test_key_renewal.py",),
    ),
    Defect(
        "taking a redirect for an answer",
        "worker/charge/client.py",
        "if 200 <= status < 300:",
        "if 200 <= status < 400:",
        ("tests/charge",),
    ),
    Defect(
        "taking a driver without `fleets` for one in no fleet",
        "worker/charge/codec.py",
        "    fleets: list[str] | None\n    email",
        "    fleets: list[str] | None = None\n    email",
        ("tests/charge",),
    ),
    Defect(
        "following pages in circles",
        "worker/engine/pagination.py",
        "if page.next in followed:",
        "if not followed and page.next in followed:",
        READER,
    ),
    Defect(
        "believing a listing that was cut short",
        "worker/core/planning/inventory.py",
        "(TOLERANCE * fleet.total_drivers if final else 0)",
        "fleet.total_drivers",
        (*READER, "tests/core/test_inventory.py"),
    ),
    Defect(
        "detaching from a fleet whose listing is incomplete",
        "worker/core/planning/planner.py",
        "exact - resolved.unclear - actual.incomplete.keys()",
        "exact - resolved.unclear",
        PLANNER,
    ),
    Defect(
        "taking a reference that led nowhere for nobody",
        "worker/core/planning/planner.py",
        "exact - resolved.unclear - actual.incomplete.keys()",
        "exact - actual.incomplete.keys()",
        PLANNER,
    ),
    Defect(
        "detaching from fleets that nobody manages",
        "worker/core/planning/planner.py",
        "for fleet in fleets & shrinkable:",
        "for fleet in fleets:",
        PLANNER,
    ),
    Defect(
        "detaching in additive mode",
        "worker/core/planning/planner.py",
        "if stated.get(fleet, mode) is Mode.EXACT})",
        "})",
        PLANNER,
    ),
    Defect(
        "`until` inclusive",
        "worker/core/model/desired.py",
        "self.ends <= now",
        "self.ends < now",
        PLANNER,
    ),
    Defect(
        "taking KELVIN SIGN for a k",
        "worker/core/planning/references.py",
        "return text.lower() if text.isascii() else text.translate(_LOWER)",
        "return text.lower()",
        ("tests/core/test_references.py",),
    ),
    Defect(
        "detaching a driver whom a mistyped reference may mean",
        "worker/core/planning/resolver.py",
        """{suggestion}", tuple(sorted(near)))""",
        """{suggestion}")""",
        ("tests/core/test_near_misses.py",),
    ),
    Defect(
        "forgetting what was detached within the window",
        "worker/core/safety/window.py",
        "total, before = recent.count(self.action) + due, recent.members_before(members)",
        "total, before = due, recent.members_before(members)",
        ("tests/core/test_window.py",),
    ),
    Defect(
        "taking drivers attached within the window for members at its beginning",
        "worker/core/safety/window.py",
        "members + self.count(Action.DETACH) - self.count(Action.ATTACH, approved=True)",
        "members + self.count(Action.DETACH)",
        ("tests/core/test_window.py",),
    ),
    Defect(
        "counting approved detaches",
        "worker/core/safety/window.py",
        "if each.action is action and (approved or not each.approved))",
        "if each.action is action)",
        ("tests/core/test_window.py",),
    ),
    Defect(
        "following a name to another fleet",
        "worker/core/safety/guard.py",
        "by_fleet = {change: reasons[change.fleet] for change in case.plan.changes if change.fleet in reasons}",
        "by_fleet = dict[Change, str]()",
        ("tests/core/test_guard_memory.py",),
    ),
    Defect(
        "emptying a fleet",
        "worker/core/safety/guard.py",
        "if due[change.fleet] + delayed >= members:",
        "if due[change.fleet] + delayed > members:",
        ("tests/core/test_guard.py",),
    ),
    Defect(
        "emptying a fleet in instalments",
        "worker/core/safety/guard.py",
        "if due[change.fleet] + delayed >= members:",
        "if due[change.fleet] >= members:",
        ("tests/core/test_grace_period.py",),
    ),
    Defect(
        "a grace that begins anew at every doubt",
        "worker/core/planning/grace_period.py",
        "known.keys() - absent.keys() - plan.unjudged",
        "known.keys() - absent.keys()",
        ("tests/core/test_grace_period.py", "tests/engine/test_grace.py"),
    ),
    Defect(
        "detaches of somebody whose attach is frozen",
        "worker/core/safety/flap_detection.py",
        "return followers | stopped",
        "return stopped",
        ("tests/core/test_flap_detection.py",),
    ),
    Defect(
        "fighting on, whatever somebody else does",
        "worker/engine/guard_memory.py",
        "most=flap_detection.REVERSALS)",
        "most=flap_detection.REVERSALS - 1)",
        ("tests/engine/test_flapping.py",),
    ),
    Defect(
        "detaches of somebody whose attach is postponed",
        "worker/core/safety/attach_first.py",
        "if change.action is Action.DETACH and change.driver in missing",
        "if False and change.driver in missing",
        ("tests/engine/test_refusal_backoff.py",),
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
        "an approval that lets held changes through all day",
        "worker/core/model/plan.py",
        "return self.approval if not self.approved_changes.isdisjoint(changes) else None",
        "return None",
        ("tests/engine/test_recovery.py", "tests/engine/test_flapping.py"),
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
        "asking Charge at the full pace while it is away",
        "worker/core/pacing/retry_policy.py",
        "first * 2.0 ** min(failures - 1, 32)",
        "first",
        ("tests/core/test_retry_policy.py", "tests/service"),
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
