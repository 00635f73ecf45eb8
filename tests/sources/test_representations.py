"""What the representation of a value shows: a log, or an error of another library, may contain it."""

import pathlib

import httpx
import pytest

from worker.core.model.desired import Desired, DriverByEmail, FleetByName, FleetEntry, Origin, Row, SourceReading
from worker.core.model.desired import SourceRevision as Revision
from worker.sources import command_source, fetching, git_source, http_source, processes

SECRET = "Sesame"
FOLDER = pathlib.Path("folder")
ENVIRON = {"TOKEN": SECRET}
NAME = FleetByName(SECRET)
FLEETS = (FleetEntry(NAME, Origin("people.csv", 1, 1)),)
ROWS = (Row(NAME, DriverByEmail(f"{SECRET}@example.com"), Origin("people.csv", 2, 1)),)


@pytest.mark.parametrize(
    "value",
    [
        http_source.Endpoint(f"https://hr.test/?sig={SECRET}", httpx.AsyncHTTPTransport, "fleet-sync/0"),
        command_source.Command(run=(SECRET,), folder=FOLDER, peek=(SECRET,), env=ENVIRON, environ=ENVIRON),
        processes.Program((), FOLDER, environ=ENVIRON, timeout=1, most=1),
        git_source.Repository("url", "HEAD", "people.csv", cache=FOLDER, environ=ENVIRON),
        fetching.Document("people.csv", SECRET.encode(), manifest=SECRET.encode()),
        SourceReading(Revision("file", "hr", "sha256:0"), FLEETS, ROWS),
        Desired((), FLEETS, ROWS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_representation_shows_no_secret_and_no_person(value: object) -> None:
    assert SECRET not in repr(value)
