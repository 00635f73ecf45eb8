"""The pages: their content and their bounds. Neighbours: test_hostile_text.py, test_fragments.py."""

import dataclasses
import datetime
import re

import pytest
import structlog.testing

from tests.web import conftest, doubles
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import FleetId, RunId
from worker.core.model.outcomes import Applied, ChangeResult, Refused
from worker.core.model.people import Person
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.core.safety import guard
from worker.web import fragments, templating

pytestmark = pytest.mark.anyio

APPLIED = Applied(1)


@pytest.mark.parametrize(
    ("mood", "expected"),
    [
        ("in_sync", "In sync: 6 fleets, 3,480 memberships, checked 40 s ago, next in 4 min."),
        ("starting", "Starting: the first run is in progress (reading fleets)."),
        ("working", "Working: changing memberships, 1,204 of 3,000 done."),
        ("drifting", "Drifted: 2 memberships in 1 fleet not yet in sync"),
        ("refused", "Charge refused 1 change; 2 more alerts."),
        ("held", "4 detaches are held and wait for your approval; 1 more alert."),
        ("broken", "The source cannot be read since 10:05: no changes are made."),
    ],
)
async def test_the_headline_states_the_condition(mood: str, expected: str) -> None:
    page = await conftest.read(doubles.Service(doubles.MOODS[mood]()))
    assert page.count("<h1") == 1
    assert expected in conftest.plain(page)


async def test_a_refused_change_shows_driver_reason_and_remedy() -> None:
    text = conftest.plain(await conftest.read(doubles.Service(doubles.refusing())))
    for expected in ("Bruno Keller", "This driver is suspended.", "driver_blocked", "req_8sJw02kLmQ", "What to do:"):
        assert expected in text
    assert "membership.yaml:14:9 no driver has the e-mail address alice@example.com" in text


async def test_a_remedy_marks_commands_as_code() -> None:
    assert "<code>fleet-sync check</code>" in await conftest.read(doubles.Service(doubles.broken()))


async def test_the_approval_form_shows_its_digest_and_all_held_changes() -> None:
    page = await conftest.read(doubles.Service(doubles.holding()))
    form = page[page.index('id="approve"') :]
    assert form.count(doubles.DIGEST) == 3  # the button, the visible text, and the command
    for name in ("Ada Marchand", "Bruno Keller", "Chloé Dubois", "Dmitri Sokolov", "Farid Haddad"):
        assert name in form
    assert 'name="digest"' in form


async def test_without_a_token_no_approval_is_offered() -> None:
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service, token=None) as client:
        page = (await client.get("/")).text
    assert "4 detaches are held" in page
    assert "password" not in page


@pytest.mark.integration
async def test_the_page_of_a_large_account_stays_small() -> None:
    fleets = tuple(status.Fleet(FleetId(f"flt_{n:032}"), f"Fleet {n}", in_sync=9) for n in range(5000))
    made = [doubles.change("attach", n, 0) for n in range(400)]
    waiting = [doubles.held("detach", 1000 + n, 1) for n in range(400)]
    results = [ChangeResult(change, Refused(1, "c", "no")) for change in made]
    last = doubles.run(plan=doubles.guarded(changes=made, held=waiting), results=results)
    service = doubles.Service(doubles.calm(fleets=fleets, last=last))
    await doubles.remember(service, last)
    page = await conftest.read(service)
    assert len(page) < 400_000
    assert "All 5,000 fleets" in conftest.plain(page)
    assert "400 attaches refused in" in conftest.plain(page)
    assert "and 380 more on the fleet's page" in conftest.plain(page)
    assert "and 300 more: fleet-sync show run_0001" in conftest.plain(page)
    run = await conftest.read(service, "/runs/run_0001")
    assert "and 300 more: fleet-sync show run_0001" in conftest.plain(run)
    assert len(run) < 400_000


@pytest.mark.integration
@pytest.mark.parametrize("path", [f"/fleets/{doubles.fleet(0)}", f"/drivers?q={doubles.driver(1)}"])
async def test_a_page_reads_no_more_changes_than_it_shows(path: str) -> None:
    service = doubles.Service()
    for number in range(400):
        made = [doubles.change("attach", 1, 0)]
        last = doubles.run(number, plan=doubles.guarded(changes=made), results=[ChangeResult(made[0], APPLIED)])
        await doubles.remember(service, last)
    assert "and older changes" in conftest.plain(await conftest.read(service, path))
    assert service.record.given == [templating.MAX_ROWS + 1]


async def test_one_run_is_found_without_reading_them_all() -> None:
    service = doubles.Service()
    await doubles.past(service, 12)
    await conftest.read(service, "/runs/run_0001")
    assert service.record.given == [0]  # its changes


async def test_the_page_of_a_run_lists_each_change_with_its_outcome() -> None:
    service = doubles.Service(doubles.refusing())
    await doubles.past(service, 3)
    text = conftest.plain(await conftest.read(service, "/runs/run_0001"))
    for expected in (
        "Partial",
        "interval",
        "This driver is suspended.",
        "req_9fJq11",
        "6 attempts",
        "36 reads, 3 writes",
    ):
        assert expected in text


async def test_the_page_of_a_run_says_each_reason_once_and_keeps_notes_apart() -> None:
    problem = Problem("membership.yaml:14:9", "no driver has the e-mail address alice@example.com")
    last = doubles.holding().last
    assert last is not None and last.guarded is not None
    plan = dataclasses.replace(last.guarded, problems=(*last.guarded.problems, problem))
    service = doubles.Service(doubles.holding())
    await doubles.remember(service, dataclasses.replace(last, guarded=plan))
    text = conftest.plain(await conftest.read(service, f"/runs/{last.run}"))
    assert text.count(doubles.WAITING[0].message) == 1
    assert "Held changes frozen 1 change" in text and "held 4 changes in Airport shuttles" in text
    assert "detach Ada Marchand" in text
    problems, notes = text.index("Problems membership.yaml:14:9"), text.index("Notes membership.yaml:31:9")
    assert problems < notes


async def test_the_page_of_a_run_names_who_it_was_about() -> None:
    """Also those who are in no later run."""
    person = Person("Zoé Petit")
    plan = dataclasses.replace(
        doubles.guarded(held=[doubles.held("detach", 99, 50)]), people={doubles.driver(99): person}
    )
    service = doubles.Service()
    await doubles.remember(service, doubles.run(plan=plan))
    text = conftest.plain(await conftest.read(service, "/runs/run_0001"))
    assert "detach Zoé Petit" in text


async def test_a_pause_says_how_to_end_that_pause_and_which_others_end_with_it() -> None:
    page = await conftest.read(doubles.Service(doubles.paused()))
    commands = ("fleet-sync resume", f"fleet-sync resume --fleet {doubles.fleet(3)}")
    assert all(f"<code>{command}</code>" in page for command in commands)
    assert page.count("Either ends the pauses of single fleets too.") == 1
    everywhere = dataclasses.replace(doubles.paused(), pauses=doubles.paused().pauses[:1])
    assert "Either ends" not in await conftest.read(doubles.Service(everywhere))


async def test_messages_have_names_before_ids() -> None:
    service = doubles.Service(doubles.refusing())
    assert service.present.last is not None
    await doubles.remember(service, service.present.last)
    for path in ("/", "/runs/run_0001"):
        page = conftest.plain(await conftest.read(service, path))
        assert f"is detached from fleet {doubles.FLEET_NAMES[5]} ({doubles.fleet(5)})" in page, path


async def test_what_to_do_is_said_once_for_what_needs_the_same() -> None:
    waiting = [doubles.held("detach", number, number, message=f"{number + 3} of 9") for number in range(3)]
    service = doubles.Service(doubles.calm(last=doubles.run(plan=doubles.guarded(held=waiting))))
    page = conftest.plain(await conftest.read(service))
    assert page.count("1 detach held in") == 3 and page.count("What to do:") == 1


async def test_a_reason_in_several_fleets_names_them() -> None:
    waiting = [doubles.held("detach", number, number, message="too many") for number in range(3)]
    service = doubles.Service(doubles.calm(last=doubles.run(plan=doubles.guarded(held=waiting))))
    text = conftest.plain(await conftest.read(service))
    assert "3 detaches held in 3 fleets" in text and text.count("too many") == 1
    assert "In Airport" not in text
    for number in range(3):
        assert text.count(doubles.FLEET_NAMES[number]) >= 2


async def test_the_page_of_a_failed_run_explains_the_error() -> None:
    service = doubles.Service(doubles.broken())
    await doubles.past(service, 1)
    text = conftest.plain(await conftest.read(service, "/runs/run_0001"))
    assert "Error" in text
    assert "appears twice" in text


async def test_the_page_of_a_run_names_who_approved_it() -> None:
    service = doubles.Service()
    await service.record.open()
    plan = doubles.guarded(changes=[doubles.change("attach", 1, 0)])
    until = doubles.NOW + datetime.timedelta(hours=1)
    await service.record.approve("sha256:ab", now=doubles.NOW, until=until, by="<b>Ada")
    for run, digest in (("run_8", "sha256:ab"), ("run_9", "sha256:own")):
        await service.record.begin(RunId(run), trigger="source", guarded=plan, intents=[], spent=digest)
    assert "by <b>Ada at" in conftest.plain(await conftest.read(service, "/runs/run_8"))
    assert "<b>Ada" not in await conftest.read(service, "/runs/run_8")
    assert "with the run itself sha256:own" in conftest.plain(await conftest.read(service, "/runs/run_9"))


async def test_an_unfinished_run_is_shown() -> None:
    service = doubles.Service()
    await service.record.open()
    plan = doubles.guarded(changes=[doubles.change("attach", 1, 0)])
    await service.record.begin(RunId("run_9"), trigger="source", guarded=plan, intents=[])
    text = conftest.plain(await conftest.read(service, "/runs/run_9"))
    assert "Not finished" in text
    assert "source change" in text
    assert "Not finished" in conftest.plain(await conftest.read(service))


@pytest.mark.parametrize(
    "path", ["/runs/run_none", "/runs/%3Cscript%3E", "/fleets/nope", f"/fleets/{doubles.fleet(77)}"]
)
async def test_an_unknown_run_or_fleet_is_not_found(path: str) -> None:
    page = await conftest.read(doubles.Service(), path, expect=404)
    assert "<script>" not in page


async def test_a_fleet_that_is_no_longer_managed_keeps_its_history() -> None:
    service = doubles.Service()
    await doubles.past(service, 8)
    service.present = doubles.calm(fleets=())
    assert "not managed at present" in conftest.plain(await conftest.read(service, f"/fleets/{doubles.fleet(0)}"))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"q={doubles.driver(1)}", "This driver is suspended."),
        (f"q={doubles.driver(1)}&fleet={doubles.fleet(0)}", "This driver is suspended."),
        (f"q={doubles.driver(1)}&fleet={doubles.fleet(5)}", "The journal has no such change."),
        (f"q={doubles.driver(1)}&fleet=Paris", "Enter the fleet's id"),
        ("q=bruno", doubles.driver(1)),
        ("q=BRUNO%40acme", doubles.driver(1)),
        ("q=colleague+07", doubles.driver(207)),
        (f"q={doubles.driver(207)[:12]}", "Colleague 07"),
        ("q=nobody", "No driver of the last reading has this name or address, and the journal knows none."),
        ("q=drv_short", "No driver of the last reading has this name or address, and the journal knows none."),
        (
            "q=alice@example.com",
            "No driver of the last reading has this name or address, and the journal knows none.",
        ),
        ("q=", "Enter any part of a name"),
        ("", "Enter any part of a name"),
    ],
)
async def test_a_search_finds_a_drivers_changes(query: str, expected: str) -> None:
    service = doubles.Service(doubles.refusing())
    await doubles.past(service, 3)
    assert expected in conftest.plain(await conftest.read(service, f"/drivers?{query}"))


async def test_a_fleet_lists_its_members_and_every_change_that_is_not_done() -> None:
    page = conftest.plain(await conftest.read(doubles.Service(doubles.holding()), f"/fleets/{doubles.fleet(3)}"))
    assert "4 members Ada Marchand Bruno Keller Chloé Dubois Dmitri Sokolov" in page
    assert page.index("Not done yet") < page.index("4 members")
    assert page.count(doubles.WAITING[0].message) == 1
    assert "max_detach_fraction_per_fleet" in page
    frozen = conftest.plain(await conftest.read(doubles.Service(doubles.holding()), f"/fleets/{doubles.fleet(1)}"))
    assert "attach Farid Haddad" in frozen
    assert "reverted each time by someone else" in frozen


async def test_a_driver_is_shown_with_where_it_is_and_where_it_is_wanted() -> None:
    page = conftest.plain(await conftest.read(doubles.Service(doubles.holding()), f"/drivers?q={doubles.driver(1)}"))
    assert "E-mail address bruno@acme.example In fleets now Airport shuttles Once every change is made none" in page
    assert "Not done yet" in page
    assert "Ada Marchand" not in page and "Farid Haddad" not in page, "whose changes wait too"
    quiet = conftest.plain(await conftest.read(doubles.Service(doubles.calm()), f"/drivers?q={doubles.driver(1)}"))
    assert "In fleets now Airport shuttles Once every change is made Airport shuttles" in quiet
    assert "Not done yet" not in quiet


async def test_a_search_lists_drivers_by_name() -> None:
    page = conftest.plain(await conftest.read(doubles.Service(), "/drivers?q=acme"))
    found = re.findall(r"Colleague \d\d|Ada Marchand|Farid Haddad", page)
    assert found == sorted(found) and len(found) > 5


async def test_a_search_says_when_it_lists_only_some() -> None:
    page = conftest.plain(await conftest.read(doubles.Service(), "/drivers?q=colleague"))
    assert "Only the first 20 are listed" in page
    assert "Only the first" not in conftest.plain(await conftest.read(doubles.Service(), "/drivers?q=colleague+1"))


async def test_who_is_only_in_the_journal_is_found_by_name() -> None:
    service = doubles.Service(doubles.calm(reading=status.Reading(), driver_names={}))
    named = dataclasses.replace(doubles.guarded(), people={doubles.driver(50): Person("Zoë Former")})
    await doubles.remember(service, doubles.run(plan=named))
    page = conftest.plain(await conftest.read(service, "/drivers?q=former"))
    assert f"Zoë Former {doubles.driver(50)}" in page


@pytest.mark.parametrize("path", ["/runs/run_1", f"/fleets/{doubles.fleet(0)}", f"/drivers?q={doubles.driver(1)}"])
async def test_an_unavailable_journal_is_explained(path: str) -> None:
    service = doubles.Service()
    service.record.fails = JournalError("disk I/O error ch_sk_live_51secret")
    with structlog.testing.capture_logs() as logs:
        page = await conftest.read(service, path, expect=503)
    assert "disk I/O error" in page
    assert "51secret" not in page
    assert "Traceback" not in page
    assert [log["event"] for log in logs] == ["page_failed"]


async def test_the_overview_works_without_the_journal() -> None:
    """The page that reports a broken journal must not need the journal."""
    service = doubles.Service()
    service.record.fails = JournalError("disk I/O error")
    text = conftest.plain(await conftest.read(service))
    assert "In sync: 6 fleets" in text
    assert "disk I/O error" in text


async def test_a_journal_that_works_again_is_read_again() -> None:
    service = doubles.Service()
    shown = fragments.Fragments(service, approvable=True)
    service.record.fails = JournalError("disk I/O error")
    assert "disk I/O error" in (await shown.at(1)).fragments["history"]
    service.record.fails = None
    assert "disk I/O error" not in (await shown.at(2)).fragments["history"]


async def test_an_incompletely_read_fleet_is_marked() -> None:
    service = doubles.Service(doubles.calm(fleets=doubles.fleets(f0={"incomplete": "its listing contradicts itself"})))
    assert "incomplete" in conftest.plain(await conftest.read(service))
    assert "its listing contradicts itself" in conftest.plain(
        await conftest.read(service, f"/fleets/{doubles.fleet(0)}")
    )


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, "No run has read the fleets yet."),
        (doubles.run(error=JournalError("full")), "The last run failed before it had read the fleets."),
        (doubles.run(), "The last run found none of the fleets in the sources."),
    ],
    ids=["no run", "failed", "no such fleets"],
)
async def test_an_empty_list_of_fleets_is_explained(last: Report | None, expected: str) -> None:
    assert expected in conftest.plain(await conftest.read(doubles.Service(doubles.calm(last=last, fleets=()))))


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 bytes"), (999, "999 bytes"), (4_812_000, "4.81 MB"), (3_200_000_000, "3.2 GB")]
)
async def test_sizes_have_readable_units(count: int, said: str) -> None:
    service = doubles.Service(doubles.calm(journal_bytes=count))
    assert said in conftest.plain(await conftest.read(service))


async def test_must_see_offers_no_approval() -> None:
    waiting = [doubles.held("detach", 1, 1, by=guard.MUST_SEE, message="must_see was not seen in Charge")]
    page = await conftest.read(doubles.Service(doubles.calm(last=doubles.run(plan=doubles.guarded(held=waiting)))))
    assert "cannot be approved" in page
    assert 'action="/approve"' not in page
