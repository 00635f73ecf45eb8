"""Planted defects in what commands write: files, comments on pull requests, plans of some fleets.

Neighbours: `defects` says what a defect is.
"""

from tests.mutants.defects import Defect

FLEETS = ("tests/engine/test_fleet_selection.py",)
COMMENTS = ("tests/cli/test_render_markdown.py",)
COMMANDS = ("tests/cli/test_command_line.py",)

DEFECTS = (
    Defect(
        "a check that finds no mistake where the certificates are missing",
        "worker/cli/check_requirements.py",
        "secrets.notification_targets, _certificates)",
        "secrets.notification_targets)",
        ("tests/e2e/test_check.py",),
    ),
    Defect(
        "a check that does not look for what must be seen",
        "worker/cli/check.py",
        "plan.incomplete or missing:",
        "plan.incomplete:",
        ("tests/e2e/test_check.py",),
    ),
    Defect(
        "detaching a driver whose attach is left out",
        "worker/engine/plan_builder.py",
        "unclear, left_out | unselected, now=clock.now)",
        "unclear, left_out, now=clock.now)",
        FLEETS,
    ),
    Defect(
        "counting what --fleet leaves out as in sync",
        "worker/service/state.py",
        "left_out=plan_result.unselected,",
        "left_out=(),",
        ("tests/e2e/test_metrics_file.py",),
    ),
    Defect(
        "sending an unclear write that an approval of one fleet allows",
        "worker/engine/plan_builder.py",
        "skipped=await self._skipped(guarded, plan_result.unclear, left",
        "skipped=await self._skipped(guarded, unclear_writes.NONE, left",
        ("tests/engine/test_unclear_writes.py",),
    ),
    Defect(
        "applying a saved detach whose attach was left out",
        "worker/engine/plan_builder.py",
        ", *fleet_selection.missing_attaches(saved)]",
        "]",
        FLEETS,
    ),
    Defect(
        "approving with some fleets what no approval lifts",
        "worker/core/safety/fleet_selection.py",
        "freed = tuple(hold for hold in held if hold.guard != guard.MUST_SEE)",
        "freed = held",
        ("tests/core/test_fleet_selection.py",),
    ),
    Defect(
        "making changes of other fleets",
        "worker/core/safety/fleet_selection.py",
        "changes = [change for change in guarded.changes if change.fleet in fleets]",
        "changes = [*guarded.changes]",
        FLEETS,
    ),
    Defect(
        "printing a command that is for another account",
        "worker/cli/command_line.py",
        "is click.core.ParameterSource.COMMANDLINE:",
        "is click.core.ParameterSource.ENVIRONMENT:",
        COMMANDS,
    ),
    Defect(
        "printing a command without the account to a command about all accounts",
        "worker/cli/command_line.py",
        '        yield from ("--account", "NAME")',
        "        yield from ()",
        ("tests/cli/test_accounts.py",),
    ),
    Defect(
        "printing a command that refuses the journal",
        "worker/cli/command_line.py",
        "name in ADOPTING else ()",
        "name not in ADOPTING else ()",
        COMMANDS,
    ),
    Defect(
        "breaking a quoted argument of a command at its space",
        "worker/cli/layout.py",
        "_ARGUMENT.findall(content) if is_command",
        "_WORD.findall(content) if is_command",
        COMMANDS,
    ),
    Defect(
        "ending every pause where one is meant",
        "worker/cli/pause_commands.py",
        '() if paused.fleet is None else ("--fleet", paused.fleet)',
        "()",
        ("tests/e2e/test_printed_commands.py",),
    ),
    Defect(
        "a reason for each fleet in which it holds",
        "worker/core/monitoring/reasons.py",
        "found[reason(item)][fleet(item)].append(item)",
        "found[reason(item), fleet(item)][fleet(item)].append(item)",
        ("tests/core/test_reasons.py", "tests/cli/test_render.py"),
    ),
    Defect(
        "breaking a field that fits on a line of its own",
        "worker/cli/layout.py",
        "[(gap, field)] if cells(field) <= room else",
        "[(gap, field)] if cells(field) < 0 else",
        ("tests/cli/test_layout.py",),
    ),
    Defect(
        "a document on a terminal where people read",
        "worker/cli/audit.py",
        'form or ("text" if sys.stdout.isatty() else "jsonl")',
        'form or "jsonl"',
        ("tests/e2e/test_eighty_columns.py",),
    ),
    Defect(
        "mentioning people in a comment",
        "worker/cli/render_markdown.py",
        'r"(?<=[@#!~%&$:])|',
        'r"(?<=[#!~%&$:])|',
        COMMENTS,
    ),
    Defect(
        "markup in a comment",
        "worker/cli/render_markdown.py",
        "each if each.isalnum() or (each in _PLAIN and at >= start)",
        "each if each.isalnum() or (each in _PLAIN + '<>' and at >= start)",
        COMMENTS,
    ),
    Defect(
        "a comment that is too long",
        "worker/cli/render_markdown.py",
        "if len(line) > room:",
        "if len(line) > room + 9_000:",
        COMMENTS,
    ),
    Defect(
        "ending an annotation early",
        "worker/cli/findings.py",
        'return message.replace("%", "%25")',
        "return message",
        ("tests/cli/test_findings.py",),
    ),
    Defect(
        "overwriting a file of the operator",
        "worker/cli/init.py",
        "if os.path.lexists(file)]",
        "if file.exists()]",
        ("tests/e2e/test_init.py",),
    ),
    Defect(
        "passing the key to the pager",
        "worker/cli/pager.py",
        'ours = ("CHARGE_", "FLEET_SYNC_")',
        'ours = ("FLEET_SYNC_",)',
        ("tests/e2e/test_terminal.py",),
    ),
    Defect(
        "hiding runs after a clock was set back",
        "worker/journal/queries.py",
        "ORDER BY number LIMIT :limit",
        "ORDER BY started LIMIT :limit",
        ("tests/journal/test_run_history.py",),
    ),
    Defect(
        "printing a run in progress as if it were whole",
        "worker/cli/audit.py",
        "if waiting is not None and waiting.finished is not None:",
        "if waiting is not None:",
        ("tests/e2e/test_audit.py",),
    ),
    Defect(
        "a journal that counts as known before any run used it",
        "worker/engine/ownership.py",
        "self._is_new = owner is None",
        "self._is_new = False",
        ("tests/engine/test_ownership.py",),
    ),
    Defect(
        "going to older runs by their start alone",
        "worker/journal/queries.py",
        "AND (started, number) < (SELECT started, number",
        "AND (started, 0) < (SELECT started, 0",
        ("tests/journal/test_run_history.py",),
    ),
    Defect(
        "counting changes of runs before the chart",
        "worker/journal/queries.py",
        "WHERE runs.account = :account AND runs.started >= :since AND intents.outcome IS NOT NULL\n    GROUP BY",
        "WHERE runs.account = :account AND runs.started > '' AND intents.outcome IS NOT NULL\n    GROUP BY",
        ("tests/journal/test_run_history.py",),
    ),
    Defect(
        "a job without metrics that tells its receivers nothing",
        "worker/cli/once.py",
        "if hooks or metrics is not None else None",
        "if metrics is not None else None",
        ("tests/e2e/test_job_notifications.py",),
    ),
)
