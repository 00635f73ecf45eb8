"""What an operator reads of a database that failed: what happened, what to do, and no password."""

import sqlite3

import pytest

from worker.core.model.errors import JournalError
from worker.journal import address, error_mapping

SERVER = address.parse("postgresql://ann:Ses%20ame@db.test/fleet")
FILE = address.parse("sqlite:////var/lib/fleet-sync/journal.db")


class ServerError(Exception):
    """A failure as psycopg raises it."""

    def __init__(self, message: str = "", sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


def _file_error(code: int, message: str = "it failed") -> sqlite3.Error:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        (None, "is up and reachable"),
        ("25006", "not to a standby"),
        ("28P01", "Correct user and password"),
        ("28000", "Correct user and password"),
        ("3D000", "Create the database"),
        ("42501", "Allow the user"),
        ("53100", "Make room"),
        ("53300", "Allow more connections"),
        ("55P03", "Wait until the program"),
    ],
)
def test_a_server_that_fails_says_what_to_do(state: str | None, remedy: str) -> None:
    found = error_mapping.explain(ServerError("it failed", state), SERVER)
    assert found.message == "the journal postgresql://ann@db.test/fleet cannot be used: it failed"
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (sqlite3.SQLITE_FULL, "Make room"),
        (sqlite3.SQLITE_BUSY, "Wait until the program"),
        (sqlite3.SQLITE_IOERR_WRITE, "Check the journal's disk"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "writable"),
    ],
)
def test_a_file_that_fails_says_what_to_do_by_its_primary_code(code: int, remedy: str) -> None:
    found = error_mapping.explain(_file_error(code), FILE)
    assert found.message == "the journal /var/lib/fleet-sync/journal.db cannot be used: it failed"
    assert remedy in found.remedy


@pytest.mark.parametrize("cause", [ServerError("?", "XX000"), ServerError("?", "42P01")])
def test_a_failure_that_nobody_foresaw_has_the_remedy_of_every_journal(cause: Exception) -> None:
    assert error_mapping.explain(cause, SERVER).remedy == JournalError("?").remedy


@pytest.mark.parametrize(
    ("cause", "where"),
    [
        (ServerError("duplicate key", "23505"), SERVER),
        (_file_error(sqlite3.SQLITE_CONSTRAINT_UNIQUE), FILE),
        (_file_error(sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY), FILE),
    ],
)
def test_a_run_that_is_there_already_is_named_as_such(cause: Exception, where: address.Address) -> None:
    assert "already contains this run" in error_mapping.explain(cause, where).message


def test_a_message_of_several_lines_is_one_line_and_an_empty_one_is_the_kind_of_failure() -> None:
    assert error_mapping.explain(ServerError("no\n\troute  to host"), SERVER).message.endswith(": no route to host")
    assert error_mapping.explain(ServerError(" "), SERVER).message.endswith(": ServerError")


@pytest.mark.parametrize("text", ["invalid token Ses%20ame", "invalid token Ses ame"])
def test_a_password_is_shown_in_neither_of_its_forms(text: str) -> None:
    cause = ServerError(text)
    assert error_mapping.quotes_password(cause, SERVER)
    assert error_mapping.explain(cause, SERVER).message.endswith(": invalid token …")


def test_a_message_without_the_password_keeps_its_cause() -> None:
    assert not error_mapping.quotes_password(ServerError("no route to host"), SERVER)
    assert not error_mapping.quotes_password(ServerError(""), FILE)
