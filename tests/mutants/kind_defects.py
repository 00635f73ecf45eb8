"""Defects of single kinds of sources, of dates and of the key command: what would be read although it is not whole.

Invariant: as in `defects`. Neighbours: `source_defects` has what all kinds have in common; `__main__` plants all.
"""

from tests.mutants.defects import Defect

PROCESSES = ("tests/sources/test_processes.py",)
YAML = ("tests/sources/test_yaml_format.py",)
COMMANDS = ("tests/sources/test_command_source.py",)
GIT = ("tests/sources/test_git_source.py",)
SQL = ("tests/sources/test_sql_source.py",)
HTTP = tuple(f"tests/sources/test_http_{part}.py" for part in ("source", "login", "versions"))
REWRITING = ("tests/core/test_source_rewriting.py",)
REWRITING_RUNS = ("tests/engine/test_source_rewriting.py",)
OBJECT = ("tests/sources/test_object_source.py",)
SFTP = ("tests/sources/test_sftp_source.py",)
SFTP_LOGIN = ("tests/sources/test_sftp_connection.py",)
_PROCESSES = "worker/sources/processes.py"
_COMMAND = "worker/sources/command_source.py"
_HTTP_SOURCE = "worker/sources/http_source.py"
_SFTP = "worker/sources/sftp_source.py"
_HTTP_BODY = "worker/sources/http_body.py"

DEFECTS = (
    Defect(
        "children of the key's command that live on",
        "worker/settings/key_command.py",
        "    _kill_group(process)\n    process.wait()\n",
        "    process.wait()\n",
        ("tests/settings/test_key_command.py",),
    ),
    Defect(
        "a membership that ended in the year 26, in a column of dates",
        "worker/sources/row_mapping.py",
        "    years.require_plausible(text, day.year)\n",
        "",
        ("tests/sources/test_dates.py",),
    ),
    Defect(
        "a membership that ended in the year 1, in a document",
        "worker/sources/membership_document.py",
        "    years.require_plausible(text, parsed.year)\n",
        "",
        ("tests/sources/test_dates.py",),
    ),
    Defect(
        "believing a body that ends with the connection",
        _HTTP_BODY,
        "if not is_chunked and not length:",
        "if False:",
        HTTP,
    ),
    Defect(
        "believing half of a gzip stream",
        _HTTP_BODY,
        "if not member.eof:",
        "if False:",
        HTTP,
    ),
    Defect(
        "believing a part of the document",
        _HTTP_SOURCE,
        "if status != 200 and 200 <= status < 400:",
        "if False:",
        HTTP,
    ),
    Defect(
        "sending a login to another origin",
        _HTTP_SOURCE,
        "if not ours:",
        "if False:",
        HTTP,
    ),
    Defect(
        "taking a page to log in for a document",
        _HTTP_BODY,
        'raise fetching.failure(name, _LOGIN_PAGE, code="source_unauthorized")\n    return body',
        "pass\n    return body",
        HTTP,
    ),
    Defect(
        "believing a 304 that is about another version",
        _HTTP_SOURCE,
        "                if _is_about(self._last, response.headers):\n",
        "                if self._last:\n",
        HTTP,
    ),
    Defect(
        "asking one address for the version of another",
        _HTTP_SOURCE,
        "self._last.conditions if self._last and self._last.url == url else {}",
        "self._last.conditions if self._last else {}",
        HTTP,
    ),
    Defect(
        "reading the file that is dated in the future forever",
        _SFTP,
        "if len(found) > 1:  #",
        "if not found:  #",
        SFTP,
    ),
    Defect(
        "missing a change within the second of the reply",
        _HTTP_SOURCE,
        "modified < sent:",
        "modified <= sent:",
        HTTP,
    ),
    Defect(
        "waiting for a slow reply forever",
        _HTTP_SOURCE,
        "with anyio.fail_after(self._endpoint.timeout):",
        "with anyio.CancelScope():",
        HTTP,
    ),
    Defect(
        "believing the output of a command that failed",
        _COMMAND,
        "if ended.code != 0:",
        "if False:",
        COMMANDS,
    ),
    Defect(
        "leaving a grandchild of a command behind",
        _PROCESSES,
        "os.killpg(process.pid, signal.SIGKILL)",
        "process.kill()",
        COMMANDS,
    ),
    Defect(
        "leaving a command behind that is cancelled while it starts",
        _PROCESSES,
        "    with anyio.CancelScope(shield=True):\n        process = await anyio.open_process(",
        "    with anyio.CancelScope():\n        process = await anyio.open_process(",
        COMMANDS,
    ),
    Defect(
        "waiting for what a command left behind",
        _PROCESSES,
        "await output.quiet()\n    _kill(process)",
        "await output.quiet()",
        COMMANDS,
    ),
    Defect(
        "cutting off what is printed for a command after it has ended",
        _PROCESSES,
        "        await output.quiet()\n",
        "        pass\n",
        PROCESSES,
    ),
    Defect(
        "giving the key to a command",
        _PROCESSES,
        "if not name.startswith(_SECRET_VARIABLES) and KEY_PREFIX not in text",
        "if KEY_PREFIX not in text",
        COMMANDS,
    ),
    Defect(
        "collecting the output of a command without bound",
        _PROCESSES,
        "            if len(self.stdout) > self._most:\n                _kill(process)\n                break\n",
        "",
        COMMANDS,
    ),
    Defect(
        "reading rows of several moments",
        "worker/sources/sql_sqlite.py",
        '            self._raw.execute("BEGIN")\n',
        "",
        SQL,
    ),
    Defect(
        "letting a query write",
        "worker/sources/sql_sqlite.py",
        "?mode=ro",
        "?mode=rw",
        SQL,
    ),
    Defect(
        "leaving a query that was cancelled running",
        "worker/sources/sql_source.py",
        "await to_thread.run_sync(session.interrupt, abandon_on_cancel=True)",
        "pass",
        SQL,
    ),
    Defect(
        "reading numbers that have several spellings",
        "worker/sources/sql_source.py",
        "case int() | decimal.Decimal()",
        "case int() | float() | decimal.Decimal()",
        SQL,
    ),
    Defect(
        "leaving out a folder in a repository",
        "worker/sources/git_source.py",
        'if mode not in ("100644", "100755"):\n                raise self.failure(',
        'if mode not in ("100644", "100755"):\n                continue\n                raise self.failure(',
        GIT,
    ),
    Defect(
        "reading a tag in the place of the branch of that name",
        "worker/sources/git_source.py",
        "ref, _ = await self._resolved(git)",
        "ref = repository.ref",
        GIT,
    ),
    Defect(
        "a row of YAML behind a line end that no editor shows",
        "worker/sources/formats/yaml_format.py",
        r"\x7f-\x9f\u2028\u2029",
        r"\x7f-\x84\x86-\x9f",
        YAML,
    ),
    Defect(
        "showing a secret that a command printed into its document",
        "worker/sources/document_source.py",
        "if not document.secrets:",
        "if True:",
        COMMANDS,
    ),
    Defect(
        "showing the beginning of a secret where a line is shortened",
        "worker/sources/fetching.py",
        'text = text.replace(f"{secret[:length]}…", "[secret]…")',
        "pass",
        COMMANDS,
    ),
    Defect(
        "sending a token to any address",
        "worker/sources/git_source.py",
        'f"http.{repository.url}.extraHeader"',
        '"http.extraHeader"',
        GIT,
    ),
    Defect(
        "reading an upload that has not settled",
        _SFTP,
        "        if not manifest and not _is_done(chosen):\n            self._check_settled(path, status)\n",
        "",
        SFTP,
    ),
    Defect(
        "taking the mark of an earlier upload for that of this one",
        _SFTP,
        "done.is_file and done.mtime >= chosen.status.mtime",
        "done.is_file",
        SFTP,
    ),
    Defect(
        "not noticing that a file changed on an SFTP server while it was read",
        _SFTP,
        "if after != chosen.status or",
        "if",
        SFTP,
    ),
    Defect(
        "taking a part of a file on an SFTP server for all of it",
        _SFTP,
        " or len(data) != chosen.status.size",
        "",
        SFTP,
    ),
    Defect(
        "not noticing that another file was renamed into place",
        _SFTP,
        " or await self._choose(session) != chosen",
        "",
        SFTP,
    ),
    Defect(
        "trusting SFTP servers without a known key",
        "worker/sources/sftp_connection.py",
        '{"known_hosts": known_hosts, "password"',
        '{"known_hosts": None, "password"',
        SFTP_LOGIN,
    ),
    Defect(
        "taking a part of an object for all of it",
        "worker/sources/object_source.py",
        "if len(data) != head.size:",
        "if len(data) > head.size:",
        OBJECT,
    ),
    Defect(
        "not retrying a store that answers with an error at first",
        "worker/sources/object_store.py",
        '"max_retries": _RETRIES,',
        '"max_retries": 0,',
        OBJECT,
    ),
    Defect(
        "not noticing a new manifest of an object",
        "worker/sources/object_source.py",
        "keys = [self.bucket.key, self._beside()] if self.manifest else",
        "keys =",
        OBJECT,
    ),
    Defect(
        "attaching drivers that only a rewritten history names",
        "worker/core/safety/guard.py",
        "held = {change: reasons[change.fleet] for change in case.plan.changes if change.fleet in reasons}\n"
        "    return _with_dependents(case, held, SOURCE_REWRITTEN)",
        "held = {change: reasons[change.fleet] for change in case.detaches if change.fleet in reasons}\n"
        "    return _with_dependents(case, held, SOURCE_REWRITTEN)",
        REWRITING,
    ),
    Defect(
        "remembering a rewritten history while its changes are held",
        "worker/engine/guard_memory.py",
        "source_rewriting.unsettled(plan, decision.held, records)",
        "source_rewriting.unsettled(plan, (), records)",
        REWRITING_RUNS,
    ),
    Defect(
        "remembering a rewritten history while a grace period delays its detaches",
        "worker/core/safety/source_rewriting.py",
        " | {fleet for _, fleet in plan.later}",
        "",
        REWRITING,
    ),
    Defect(
        "taking a commit that was replaced for an ancestor",
        "worker/sources/git_source.py",
        'return is_known and await git.succeeds("merge-base", "--is-ancestor", before, version)',
        "return is_known",
        GIT,
    ),
)
