"""Planted defects in what people see and decide: names, pauses, sign-in.

Neighbours: `defects` says what a defect is.
"""

from tests.mutants.defects import Defect

NAMES = ("tests/journal/test_names.py",)
SESSIONS = ("tests/web/test_sessions.py",)
PAUSES = ("tests/engine/test_pauses.py",)

DEFECTS = (
    Defect(
        "storing the name of a forgotten driver again",
        "worker/journal/row_codec.py",
        "if driver not in forgotten",
        "if driver or driver not in forgotten",
        NAMES,
    ),
    Defect(
        "storing the address of a forgotten driver in messages",
        "worker/journal/row_codec.py",
        "whole: Document = forgetting.erased(nameless, erase)",
        "whole: Document = nameless",
        NAMES,
    ),
    Defect(
        "remembering what the address of a forgotten driver leads to",
        "worker/journal/sql_journal.py",
        'if not forgotten.knows_address(row["reference"])',
        'if row or not forgotten.knows_address(row["reference"])',
        NAMES,
    ),
    Defect(
        "leaving what was deleted in the log of the file",
        "worker/journal/connection.py",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA wal_checkpoint(PASSIVE)",
        NAMES,
    ),
    Defect(
        "names that control the terminal",
        "worker/core/model/people.py",
        "each if each.isprintable() else",
        "each if each else",
        ("tests/core/test_people.py",),
    ),
    Defect(
        "writing during a pause",
        "worker/engine/reconciler.py",
        "if pauses.everywhere(plan_result.pauses) is not None:",
        "if pauses.everywhere(plan_result.pauses) is self:",
        PAUSES,
    ),
    Defect(
        "going on during a pause that begins within a run",
        "worker/engine/membership_writer.py",
        "self._pauses.check(change)",
        "self._sources.check(change)",
        PAUSES,
    ),
    Defect(
        "detaching a mover whose new fleet is paused",
        "worker/engine/plan_builder.py",
        "held = [*(held.change for held in guarded.held), *left_out]",
        "held = [held.change for held in guarded.held]",
        PAUSES,
    ),
    Defect(
        "applying a saved plan during a pause",
        "worker/engine/reconciler.py",
        "if pause.fleet is None or any(pause.covers(change) for change in saved_plan.changes(saved)):",
        "if pause.fleet is None:",
        PAUSES,
    ),
    Defect(
        "a session without a form token",
        "worker/web/actions.py",
        'if not sessions.form_token_matches(session, form.get("form_token", "")):',
        "if not sessions.form_token_matches(session, session.form_token):",
        SESSIONS,
    ),
    Defect(
        "pausing or resuming all fleets for a form that is not understood",
        "worker/web/actions.py",
        "if request.query_params or not _FIELDS.issuperset(names)",
        "if request.query_params",
        ("tests/web/test_actions.py",),
    ),
    Defect(
        "forgetting only the addresses without an apostrophe",
        "worker/journal/forgetting.py",
        "starts = [0, *(edge.end() for edge in _EDGE.finditer(before))]",
        "starts = [max([0, *(edge.end() for edge in _EDGE.finditer(before))])]",
        ("tests/journal/test_names.py",),
    ),
    Defect(
        "naming whoever approved the same digest before",
        "worker/journal/queries.py",
        "digest = :digest AND used_by IS NULL",
        "digest = :digest",
        ("tests/journal/test_approvals.py",),
    ),
    Defect(
        "an undo that does not say which run began what this one sent again",
        "worker/core/planning/undo.py",
        "    problems += _sent_again(run, history, report or {})\n",
        "",
        ("tests/core/test_undo.py",),
    ),
    Defect(
        "a shown run without what it sent again for an earlier one",
        "worker/cli/render_history.py",
        "(*_changes(changes, names), *again, ",
        "(*_changes(changes, names), ",
        ("tests/cli/test_render_history.py",),
    ),
    Defect(
        "a key in the journal that was pasted as a name or a reason",
        "worker/journal/row_codec.py",
        "    return text(redact(written))",
        "    return text(written)",
        ("tests/journal/test_pauses.py",),
    ),
    Defect(
        "a session that never ends",
        "worker/web/sessions.py",
        "if self._now().timestamp() >= expires:",
        "if self._now().timestamp() < 0:",
        SESSIONS,
    ),
    Defect(
        "a cookie that is not signed",
        "worker/web/sessions.py",
        "if not _same(signature, _mac(self._key, payload).hex()):",
        "if not payload:",
        SESSIONS,
    ),
    Defect(
        "signing in that leads to another site",
        "worker/web/actions.py",
        r're.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text)',
        r're.fullmatch(r"/[!-~]*", text)',
        SESSIONS,
    ),
)
