"""What journals know of people's names, and how they forget them."""

import dataclasses
import pathlib

import pytest

from tests.journal import backends, journal_factories
from tests.journal.conftest import Office
from worker.core.model.identifiers import Account, DriverId, FleetId, RunId
from worker.core.model.outcomes import Refused
from worker.core.model.people import Person
from worker.core.model.plan import HeldChange
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.model.serialization import report_document
from worker.journal import forgetting

pytestmark = pytest.mark.anyio

EMMA, LIAM = journal_factories.change("E", line=1), journal_factories.change("L", line=2)
EMMA_ID, LIAM_ID = EMMA.driver, LIAM.driver
PEOPLE = {
    EMMA_ID: Person("Emma Bakker", "Emma.Bakker@acme.example"),
    LIAM_ID: Person("Liam O'Neill_100%", "liam@acme.example"),
}
ADDRESS = "emma.bakker@acme.example"


def report(run: str, *, minutes: int = 0, problems: int = 1) -> Report:
    """Return the report of a run that held a change of Emma's, and whose texts, which are new in each run, name her."""
    quiet = journal_factories.ended(run=RunId(run), at=journal_factories.minutes(minutes))
    assert quiet.guarded is not None
    guarded = dataclasses.replace(
        quiet.guarded,
        held=(HeldChange(EMMA, "reference_moved", f"{ADDRESS} was somebody else"), HeldChange(LIAM, "flapping", "…")),
        problems=tuple(
            Problem(f"people.csv:{line}:1", f"{ADDRESS} is also listed at people.csv:2:1, as Emma Bakker, in {run}")
            for line in range(3, 3 + problems)
        ),
        people=PEOPLE,
        fleet_names={EMMA.fleet: "Vans"},
    )
    return dataclasses.replace(quiet, guarded=guarded)


async def test_the_names_of_those_whom_a_run_is_about_come_back_with_it(office: Office) -> None:
    journal = await office.writer()
    await journal.claim(Account("https://charge.test/v1", "test"), fleets={EMMA.fleet: "Vans"}, managed=())
    ended = report("run_1")
    await journal.finish(ended, trigger="once")
    plan, found = await journal.documents(ended.run)
    assert found == report_document(ended)
    assert plan is not None
    assert plan["names"] == {EMMA_ID: "Emma Bakker", LIAM_ID: "Liam O'Neill_100%", EMMA.fleet: "Vans"}
    assert await journal.names([EMMA_ID, EMMA.fleet, "drv_other"]) == {EMMA_ID: "Emma Bakker", EMMA.fleet: "Vans"}


async def test_names_are_known_from_the_start_of_a_run_on_and_follow_charge(office: Office) -> None:
    journal = await office.writer()
    for name in ("Emma Bakker", "Emma Vos"):
        guarded = dataclasses.replace(journal_factories.guarded([EMMA]), people={EMMA_ID: Person(name)})
        intents = journal_factories.intents([EMMA], run=RunId(name))
        await journal.begin(RunId(name), trigger="once", guarded=guarded, intents=intents)
        assert await journal.names([EMMA_ID]) == {EMMA_ID: name}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Emma Bakker", [EMMA_ID]),
        ("emma BAKKER", [EMMA_ID]),
        (ADDRESS, [EMMA_ID]),
        ("bakk", [EMMA_ID]),
        ("acme", [EMMA_ID, LIAM_ID]),
        ("_100%", [LIAM_ID]),
        ("%", [LIAM_ID]),
        ("old@acme.example", [LIAM_ID]),
        ("nobody", []),
        (" ", []),
    ],
)
async def test_drivers_are_found_by_name_and_address(office: Office, text: str, found: list[DriverId]) -> None:
    journal = await office.writer()
    await journal.finish(report("run_1"), trigger="once")
    await journal.remember({"old@acme.example": LIAM_ID, '"Vans"': FleetId("flt_V")})
    assert list(await journal.drivers_named(text, limit=5)) == found
    assert len(await journal.drivers_named("acme", limit=1)) == 1


async def test_a_name_is_given_up_with_the_last_run_that_knew_it(office: Office) -> None:
    journal = await office.writer()
    await journal.finish(report("run_1"), trigger="once")
    await journal.finish(
        journal_factories.ended(run=RunId("run_2"), at=journal_factories.minutes(9000)), trigger="once"
    )
    await journal.prune(before=journal_factories.minutes(5000))
    assert await journal.names([EMMA_ID]) == {}


async def test_whoever_is_forgotten_stays_forgotten(office: Office) -> None:
    journal = await office.writer()
    await journal.remember({ADDRESS: EMMA_ID, "liam@acme.example": LIAM_ID, "no=7": EMMA_ID})
    await journal_factories.begin(journal, [EMMA])
    refused = Refused(1, "blocked", "Emma Bakker is suspended")
    await journal.record([(journal_factories.key(), refused)])
    await journal.finish(report("run_1"), trigger="once")
    assert await journal.forget(EMMA_ID, now=journal_factories.NOON)

    async def require_forgotten(run: str) -> None:
        assert await journal.names([EMMA_ID, LIAM_ID]) == {LIAM_ID: "Liam O'Neill_100%"}
        assert await journal.drivers_named("Emma Bakker", limit=5) == ()
        assert await journal.drivers_named(ADDRESS, limit=5) == ()
        assert await journal.resolutions() == {"liam@acme.example": LIAM_ID, "no=7": EMMA_ID}
        plan, found = await journal.documents(RunId(run))
        assert found is not None
        assert found["plan"] == plan
        assert "bakker" not in repr(found).lower()
        assert "[forgotten] is also listed at people.csv:2:1, as [forgotten], in " in repr(found)
        assert EMMA_ID in repr(found)

    await require_forgotten("run_1")
    (past,) = await journal.changes(driver=EMMA_ID)
    assert past.message == "[forgotten] is suspended"
    await journal.remember({ADDRESS: EMMA_ID})
    await journal.finish(report("run_2", minutes=5), trigger="once")
    await require_forgotten("run_2")


@pytest.mark.parametrize("address", ["emma@acme.example", "emma.o'neill@acme.example", "cost=7@acme.example"])
@pytest.mark.parametrize(
    "text",
    ["{}", "'{}'", "mail={}", "mailto:{}", "Emma<{}>,", "(did you mean {}?)", "liam@acme.example,{}.", "`{}/x@y`"],
)
def test_the_address_of_somebody_forgotten_is_recognised_whatever_is_around_it(address: str, text: str) -> None:
    forgotten = forgetting.Tombstones([{"driver": EMMA_ID, "digest": forgetting.digest(EMMA_ID, address)}])
    assert forgotten.eraser()(text.format(address.upper())) == text.format(forgetting.FORGOTTEN)
    other = text.format(f"n{address}")
    assert forgotten.eraser()(other) == other


async def test_somebody_unknown_can_be_forgotten_in_advance(office: Office) -> None:
    journal = await office.writer()
    assert await journal.forget(EMMA_ID, now=journal_factories.NOON)
    assert await journal.forget(EMMA_ID, now=journal_factories.NOON)
    await journal.finish(report("run_1"), trigger="once")
    assert await journal.names([EMMA_ID]) == {}


def traces(path: pathlib.Path) -> bool:
    """Return whether the files contain Emma's name or address, in whatever case."""
    content = b"".join(each.read_bytes() for each in path.parent.iterdir()).lower()
    return b"bakker" in content


async def test_the_files_keep_no_trace(sqlite_backend: backends.SqliteBackend) -> None:
    """The running service is the writer, and `forget` another process; the next run removes what SQLite left behind."""
    service, command = sqlite_backend.journal(), sqlite_backend.journal()
    await service.open()
    await service.remember({ADDRESS: EMMA_ID})
    await service.finish(report("run_1", problems=500), trigger="once")
    await service.aclose()  # which moves the log into the file
    assert traces(sqlite_backend.path)
    service = sqlite_backend.journal()
    await service.open()
    await service.finish(report("run_2", minutes=2), trigger="once")  # which stays in the log
    assert not await command.forget(EMMA_ID, now=journal_factories.NOON)
    await command.aclose()
    await service.finish(report("run_3", minutes=5), trigger="once")
    assert not traces(sqlite_backend.path)
    await service.check()
    await service.finish(report("run_4", minutes=9), trigger="once")
    assert not traces(sqlite_backend.path)
    await service.aclose()
