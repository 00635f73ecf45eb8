"""Defects of the sources: what would be read although it is not whole, or left out without a word.

Invariant: as in `defects`. Neighbours: `kind_defects` has those of single kinds; `__main__` plants all.
"""

from tests.mutants.defects import Defect

FILES = ("tests/sources/test_file_source.py",)
TABLES = ("tests/sources/test_table_reader.py",)
MANY = ("tests/sources/test_many_at_once.py",)
PROOFS = ("tests/sources/test_completeness.py",)
POLLING = ("tests/service/test_source_polling.py",)
WORKBOOKS = ("tests/sources/test_xlsx_format.py",)
IGNORED = ("tests/core/test_ignored_drivers.py",)
_IGNORED = "worker/core/planning/ignored_drivers.py"
LOCAL_DATES = ("tests/core/test_local_dates.py",)
_DAYS = "worker/core/planning/days.py"
_LOCAL_DATES = "worker/core/planning/local_dates.py"
SHRINKAGE = ("tests/core/test_source_shrinkage.py",)
SHRINKING = ("tests/engine/test_source_shrinkage.py",)
_SHRINKAGE = "worker/core/safety/source_shrinkage.py"
_FILE_SOURCE = "worker/sources/file_source.py"
_TABLE_READER = "worker/sources/table_reader.py"
_STRUCTURE = "worker/sources/formats/xlsx_structure.py"

DEFECTS = (
    Defect(
        "leaving out a row whose status only looks like one to keep",
        _TABLE_READER,
        "            elif drop is None:\n",
        "            if drop is None:\n",
        TABLES,
    ),
    Defect(
        "losing a row of a workbook that is there twice",
        _STRUCTURE,
        "_check(in_order=self._row > before)",
        "before",
        WORKBOOKS,
    ),
    Defect(
        "keeping rows that drop leaves out, if there is also a keep",
        _TABLE_READER,
        "for name in {**keep, **drop}]",
        "for name in (keep or drop)]",
        TABLES,
    ),
    Defect(
        "a document from the future that is young enough forever",
        "worker/sources/document_source.py",
        "if hours < -fetching.MAX_CLOCK_SKEW_SECONDS / _HOUR:",
        "if hours < -1e9:",
        PROOFS,
    ),
    Defect(
        "detaching while an entry of ignore_drivers leads to no one",
        _IGNORED,
        "change not in unclear and change.driver",
        "change.driver",
        IGNORED,
    ),
    Defect(
        "ignoring only whom an entry certainly means",
        _IGNORED,
        "            found |= dict.fromkeys(answer.candidates, entry)\n",
        "",
        IGNORED,
    ),
    Defect(
        "attaching drivers that are ignored",
        _IGNORED,
        "change.driver not in ignored.entries)",
        "(change.action is Action.ATTACH or change.driver not in ignored.entries))",
        IGNORED,
    ),
    Defect(
        "not looking up the addresses of ignored drivers",
        "worker/core/planning/expected_drivers.py",
        "[key_of(row.driver) for row in rows.dated] + [key_of(each) for each in desired.ignored]",
        "[key_of(row.driver) for row in rows.dated]",
        ("tests/engine/test_ignored_drivers.py",),
    ),
    Defect(
        "beginning a day an hour late where midnight is skipped",
        _DAYS,
        "    if before >= start:  #",
        "    if start:  #",
        LOCAL_DATES,
    ),
    Defect(
        "beginning a day at its second midnight",
        _DAYS,
        "        return start\n    while",
        "        return before\n    while",
        LOCAL_DATES,
    ),
    Defect(
        "guessing the time zone of a fleet",
        _LOCAL_DATES,
        "            unzoned[reference] = _unknown(answer, name)",
        "            zones[reference] = datetime.UTC",
        LOCAL_DATES,
    ),
    Defect(
        "waking up for a day as if every fleet were in Greenwich",
        "worker/settings/time_zones.py",
        "zoneinfo.ZoneInfo(name) if name in _names() else None",
        "datetime.UTC if name in _names() else None",
        ("tests/settings/test_time_zones.py",),
    ),
    Defect(
        "comparing a source only with its last run",
        _SHRINKAGE,
        "max(recent, default=record.counts[-1].rows)",
        "record.counts[-1].rows",
        SHRINKAGE,
    ),
    Defect(
        "having nothing to compare a source with after a day",
        _SHRINKAGE,
        "for name, record in records.items() if record.counts}",
        "for name, record in records.items() if record.counts[-1].seen >= since}",
        SHRINKAGE,
    ),
    Defect(
        "lowering the baseline by waiting",
        _SHRINKAGE,
        "        if name not in unchanged\n",
        "",
        SHRINKAGE,
    ),
    Defect(
        "keeping the baseline after an approval",
        _SHRINKAGE,
        "() if name in lowered else ",
        "",
        SHRINKAGE,
    ),
    Defect(
        "protecting only the fleets that a source that shrank still names",
        _SHRINKAGE,
        "size.fleets | before.fleets",
        "size.fleets",
        SHRINKAGE,
    ),
    Defect(
        "an approval of no changes that is for any number of rows",
        "worker/core/model/plan_digest.py",
        "[each.name, each.rows] for each in shrunk",
        "[each.name] for each in shrunk",
        SHRINKAGE,
    ),
    Defect(
        "lowering the baseline without using the approval up",
        "worker/engine/plan_builder.py",
        "spent=kept.approval if kept.accepted else None",
        "spent=None",
        SHRINKING,
    ),
    Defect(
        "a run without changes that does not say who approved what its source lost",
        "worker/journal/sql_journal.py",
        'database.execute(queries.KEEP_SOURCE_APPROVAL, {"run": finished.run, "now": format_time(finished.finished)})',
        "pass",
        ("tests/journal/test_approvals.py",),
    ),
    Defect(
        "a run that ends well although a source shrank",
        "worker/core/model/plan.py",
        "return bool(self.held or self.shrunk)",
        "return bool(self.held)",
        SHRINKING,
    ),
    Defect(
        "reading a file that is not the one that was listed",
        _FILE_SOURCE,
        "if _signature(os.fstat(file.fileno())) != signature:",
        "if False:",
        FILES,
    ),
    Defect(
        "reading a folder while it changes",
        _FILE_SOURCE,
        "if self._listing() == listing:",
        "if True:",
        FILES,
    ),
    Defect(
        "missing an edit that restores the time of the last change",
        _FILE_SOURCE,
        "status.st_mtime_ns, status.st_ctime_ns)",
        "status.st_mtime_ns, 0)",
        FILES,
    ),
    Defect(
        "reading a file whose upload keeps the time of the original",
        _FILE_SOURCE,
        "self.now() - signature.ctime_ns / 1e9",
        "self.now() - signature.mtime_ns / 1e9",
        FILES,
    ),
    Defect(
        "reading a manifest that is being written",
        _FILE_SOURCE,
        "for listing in listings:",
        "for listing in listings[:1]:",
        FILES,
    ),
    Defect(
        "importing a plugin that is not named",
        "worker/sources/plugin_loader.py",
        "            yield Offer(",
        "            entry.load()\n            yield Offer(",
        ("tests/sources/test_plugin_loader.py",),
    ),
    Defect(
        "replacing a built-in kind by a plugin",
        "worker/sources/plugin_loader.py",
        "if entry.name in taken:",
        "if False:",
        ("tests/sources/test_plugin_loader.py",),
    ),
    Defect(
        "accepting unknown keys of a plugin",
        "worker/sources/plugin.py",
        'extra="forbid"',
        'extra="ignore"',
        ("tests/sources/test_plugin_loader.py",),
    ),
    Defect(
        "never reading a source without a cheap revision again",
        "worker/engine/source_watch.py",
        "revision is None and elapsed >= source.poll_seconds",
        "False",
        ("tests/engine/test_source_watch.py",),
    ),
    Defect(
        "starting a run for a source that is being written",
        "worker/service/source_polling.py",
        'before if error.code == "source_changed" else',
        "",
        POLLING,
    ),
    Defect(
        "leaving a declared fleet unmanaged if no row names it",
        _TABLE_READER,
        "self._entries = {fleet: FleetEntry(fleet, scope) for fleet in self._fleets.values() if fleet}",
        "self._entries = {}",
        TABLES,
    ),
    Defect(
        "reading a row that a filter does not know",
        _TABLE_READER,
        "return not unknown",
        "return True",
        TABLES,
    ),
    Defect(
        "believing a number of rows whose last row is cut",
        "worker/sources/document_reader.py",
        "if needs_last_line and",
        "if False and",
        TABLES,
    ),
    Defect(
        "believing the beginning of a trailer",
        "worker/sources/completeness.py",
        "re.fullmatch(trailer",
        "re.match(trailer",
        PROOFS,
    ),
    Defect(
        "reporting a change of a source forever",
        "worker/service/source_polling.py",
        "seen = await _wait_until_quiet(",
        "await _wait_until_quiet(",
        POLLING,
    ),
    Defect(
        "unpacking a workbook of any size",
        _STRUCTURE,
        "if size > MAX_UNPACKED:",
        "if False:",
        WORKBOOKS,
    ),
    Defect(
        "reading a document type in a workbook",
        _STRUCTURE,
        "    parser.StartDoctypeDeclHandler = refuse\n",
        "",
        WORKBOOKS,
    ),
    Defect(
        "taking a bracket within a text for the end of its list",
        "worker/sources/formats/json_format.py",
        """written[-1:] != '"' or written.count('"') != 2 * len(texts) - 1 or """,
        """written[-1:] != '"' or """,
        MANY,
    ),
    Defect(
        "reading an escape in a list of texts as it is written",
        "worker/sources/formats/json_format.py",
        """ or "\\\\" in written:""",
        ":",
        MANY,
    ),
    Defect(
        "giving each text of a list the line after the one before",
        "worker/sources/positions.py",
        "all(map(operator.le, begins, offsets)) and all(",
        "all(",
        MANY,
    ),
    Defect(
        "reading many rows without a word on a value that no filter lists",
        _TABLE_READER,
        "        if len(self._problems) > before:\n",
        "        if not values:\n",
        MANY,
    ),
    Defect(
        "reading many rows that end before they begin",
        "worker/sources/membership_document.py",
        "itertools.compress(*found), filter(None, found[1])",
        "(), ()",
        MANY,
    ),
    Defect(
        "packing a row whose date has no text",
        "worker/sources/row_packing.py",
        ' and (text or key == "note")',
        "",
        ("tests/sources/test_row_packing.py",),
    ),
    Defect(
        "packing a row with a key that no row has",
        "worker/sources/row_packing.py",
        " and row.keys() <= _KEYS",
        "",
        ("tests/sources/test_row_packing.py",),
    ),
    Defect(
        "placing many rows as if none had a quotation mark",
        "worker/sources/table.py",
        "known[index][1] if known else 1 + index",
        "1 + index",
        MANY,
    ),
    Defect(
        "cutting rows apart within a quotation",
        "worker/sources/formats/csv_format.py",
        "        if quotation_mark < end:",
        "        if quotation_mark == at:",
        ("tests/sources/test_csv_format.py",),
    ),
    Defect(
        "reading many references of other keys as those of the first",
        "worker/core/planning/references.py",
        "len(values) != count or ",
        "",
        ("tests/core/test_references.py",),
    ),
    Defect(
        "reading metadata in a list as e-mail addresses",
        "worker/core/planning/references.py",
        '    if "=" in lines:\n        return _metadata_of_one_key(lines, encoded, count=len(texts))\n',
        "",
        ("tests/core/test_references.py",),
    ),
    Defect(
        "formatting a whole reading where Ctrl+C gets its handler back",
        "worker/core/model/desired.py",
        "    source: SourceRevision\n    fleets: tuple[FleetEntry, ...] = dataclasses.field(repr=False)\n"
        "    rows: Sequence[Row] = dataclasses.field(repr=False)\n",
        "    source: SourceRevision\n    fleets: tuple[FleetEntry, ...]\n    rows: Sequence[Row]\n",
        ("tests/core/test_merge_sources.py",),
    ),
)
