"""docs/operations.md lists every code, guard, outcome and log event, and no other."""

import ast
import contextlib
import datetime
import pathlib
import re
import sqlite3
from collections.abc import Iterator

import anyio
import pytest

from tests.docs import pages
from tests.support import file_sources
from worker.charge import transport
from worker.core.model.errors import ChargeError, FleetSyncError, SourceError
from worker.core.model.outcomes import OUTCOME_NAMES
from worker.core.model.problem import ProblemCode
from worker.core.pacing import retry_policy
from worker.core.planning import inventory
from worker.core.safety import guard
from worker.engine import cancellation, outcome_writer
from worker.journal import sql_journal
from worker.service import composition
from worker.settings import model, urls
from worker.sources import positions

OPERATIONS = pages.page("docs/operations.md")
COMMANDS = pages.page("docs/reference/commands.md")
SETTINGS = pages.page("docs/reference/settings.md")
HOUR = datetime.timedelta(hours=1)
LEVELS = ("debug", "info", "warning", "error", "exception", "log")
LOGGERS = ("log", "structlog.get_logger()")
OUTCOME_CALLS = ("Refused", "Deferred", "Unknown", "unsent")
"""What takes the code of an outcome as its second argument."""


def test_the_page_opens_with_ten_symptoms_and_a_command_for_each() -> None:
    first, *_ = re.findall(r"^## (.+)$", OPERATIONS.text, re.MULTILINE)
    rows = list(OPERATIONS.section(f"## {first}").rows())
    assert len(rows) == 10
    for symptom, command, links in rows:
        assert re.fullmatch(r"`fleet-sync [a-z]+.*`", command), symptom
        assert re.search(r"\]\(#", links), symptom


def test_the_exit_codes_are_those_of_the_reference() -> None:
    told = [row[0] for row in OPERATIONS.section("## Exit codes and what to do").rows()]
    assert told == [row[0] for row in COMMANDS.section("## Exit codes").rows()]


def test_exactly_the_codes_of_the_code_have_a_remedy() -> None:
    told = OPERATIONS.section("## Error codes").codes()
    assert len(told) == len(set(told))
    assert set(told) == set(_codes())


def _codes() -> Iterator[str]:
    """Yield the codes of errors and outcomes, except those of abstract errors."""
    branches = {kind.code for kind in (FleetSyncError, ChargeError)}
    constants = dict(_constants())
    for node in _nodes():
        match node:
            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                yield from {code} - branches
            case ast.keyword(arg="code", value=ast.Constant(value=str(code))) if code:
                yield code
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[_, code, *_]) if (
                called in OUTCOME_CALLS
            ):
                match code:
                    case ast.Constant(value=str(text)):
                        yield text
                    case ast.Name(id=name) if name in constants:
                        yield constants[name]
                    case _:
                        pass
            case _:
                pass


def _constants() -> Iterator[tuple[str, str]]:
    for node in _nodes():
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))) if name.isupper():
                yield name, text
            case _:
                pass


def test_every_outcome_is_explained() -> None:
    assert tuple(OPERATIONS.section("## Outcomes").codes()) == OUTCOME_NAMES


def test_every_guard_is_explained_in_the_order_of_precedence() -> None:
    assert OPERATIONS.section("## Guard holds").codes() == [code for code, _ in guard.PRECEDENCE]


def test_every_text_of_a_problem_is_one_that_the_code_writes() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (pages.ROOT / "worker").rglob("*.py"))
    assert [text for text in OPERATIONS.section("## Problems").codes() if text not in code] == []


def test_exactly_the_codes_of_problems_are_listed() -> None:
    listed = [code for row in OPERATIONS.section("## Problems").rows() for code in re.findall(r"`([a-z_]+)`", row[1])]
    assert set(listed) == set(ProblemCode) - {ProblemCode.INVALID}


def test_exactly_the_log_events_of_the_code_are_listed() -> None:
    assert set(OPERATIONS.section("## Log lines").codes()) == set(_events())


def _events() -> Iterator[str]:
    for node in _nodes():
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in LEVELS and ast.unparse(node.func.value) in LOGGERS:
            event = node.args[node.func.attr == "log"]
            if isinstance(event, ast.Constant):
                yield str(event.value)
            else:
                assert ast.unparse(event) in ("event", "f'membership_{change.action}'")
                yield from ("membership_attach", "membership_detach")


def _nodes() -> Iterator[ast.AST]:
    for path in sorted((pages.ROOT / "worker").rglob("*.py")):
        if "sandbox" not in path.parts:
            yield from pages.nodes(path)


@pytest.fixture
def journal(tmp_path: pathlib.Path) -> pathlib.Path:
    """Create an empty journal, as the first run does."""
    path = tmp_path / "fleet-sync.db"

    async def make() -> None:
        made = sql_journal.SqlJournal(f"sqlite:///{path}", clock=composition.SystemClock())
        await made.open()
        await made.aclose()

    anyio.run(make)
    return path


@pytest.mark.parametrize("query", [block.text for block in OPERATIONS.blocks("sql")])
def test_the_queries_fit_the_journal(query: str, journal: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(journal)) as connection:
        assert connection.execute(query).description


def test_exactly_the_files_and_tables_of_the_journal_are_listed(journal: pathlib.Path) -> None:
    section = OPERATIONS.section("## The journal")
    assert {path.name for path in journal.parent.iterdir()} <= set(
        re.findall(r"`(fleet-sync\.db[\w.-]*)`", section.text)
    )
    with contextlib.closing(sqlite3.connect(journal)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert set(section.codes()) == {name for (name,) in tables} - {"schema_version"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("docs/operations.md", f"get `sync.drain_seconds` ({model.Sync().drain_seconds:g}) to finish"),
        ("docs/operations.md", f"An answer of more than {transport.MAX_BODY_BYTES >> 20} MiB"),
        ("docs/operations.md", f"a pause of more than {retry_policy.LONGEST_WAIT:g} seconds ends the run"),
        ("docs/operations.md", f"in groups within {1000 * outcome_writer.GROUP_SECONDS:g} ms"),
        (
            "docs/operations.md",
            f"for more than {cancellation.MAX_SILENCE:g} seconds between the beginning of its reading",
        ),
        ("docs/operations.md", f"for {guard.APPROVAL_LIFETIME // HOUR} hours"),
        ("docs/operations.md", f"(within {inventory.TOLERANCE * 100:g} %, after a second reading)"),
        ("docs/reference/documents.md", f"documents over {positions.MAX_BYTES >> 20} MiB"),
        ("README.md", f"for {guard.APPROVAL_LIFETIME // HOUR} hours"),
    ],
)
def test_a_documented_limit_is_the_real_one(name: str, words: str) -> None:
    assert words in " ".join(pages.page(name).text.split())


TWO_FLEETS = {
    "yaml": "fleets:\n  Paris vans:\n    - a@example.com\n    - b@example.com\n  Lyon pool:\n    - a@example.com\n",
    "csv": "driver,fleet\na@example.com,Paris vans\nb@example.com,Paris vans\na@example.com,Lyon pool\n",
    "toml": '[fleets]\n"Paris vans" = ["a@example.com", "b@example.com"]\n"Lyon pool" = ["a@example.com"]\n',
    "json": '{"fleets":\n{"Paris vans":\n["a@example.com",\n"b@example.com"],\n"Lyon pool":\n["a@example.com"]}}\n',
}


@pytest.mark.parametrize(
    ("suffix", "kept", "rows"),
    [("yaml", 4, 2), ("yaml", 3, 1), ("csv", 3, 2), ("csv", 2, 1), ("toml", 2, 2)],
)
def test_a_document_truncated_between_rows_is_valid_and_lacks_fleets(
    suffix: str, kept: int, rows: int, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / f"membership.{suffix}"
    path.write_text("".join(TWO_FLEETS[suffix].splitlines(keepends=True)[:kept]))
    reading = anyio.run(file_sources.of(path, path.name).read)
    assert (len({entry.fleet for entry in reading.fleets}), len(reading.rows)) == (1, rows)


def test_no_part_of_a_json_document_is_valid(tmp_path: pathlib.Path) -> None:
    path, whole = tmp_path / "membership.json", TWO_FLEETS["json"].rstrip()
    for end in range(len(whole)):
        path.write_text(whole[:end])
        with pytest.raises(SourceError):
            anyio.run(file_sources.of(path, path.name).read)


def test_postgresql_is_documented_as_the_settings_accept_it() -> None:
    assert urls.journal("postgresql://fleet-sync@db/fleet-sync")
    assert "postgresql://" in SETTINGS.text and "postgresql://" in OPERATIONS.text


def test_a_journal_that_is_only_opened_and_closed_leaves_no_file(tmp_path: pathlib.Path) -> None:
    """Opening and closing an account does not create the journal."""
    anyio.run(sql_journal.SqlJournal(f"sqlite:///{tmp_path / 'fleet-sync.db'}", clock=composition.SystemClock()).aclose)
    assert not list(tmp_path.iterdir())


def test_the_image_has_the_documented_paths_and_user() -> None:
    dockerfile = (pages.ROOT / "Dockerfile").read_text(encoding="utf-8")
    section = OPERATIONS.section("## In a container").text
    for word in ("/etc/fleet-sync", "/var/lib/fleet-sync", "FLEET_SYNC_CONFIG", "FLEET_SYNC_JOURNAL__URL", "10001"):
        assert word in section
        assert word in dockerfile
    assert re.search(r"^STOPSIGNAL SIGTERM$", dockerfile, re.MULTILINE)
