"""Stories that a tool tells only over several runs: what it remembers, and what it no longer tries."""

from tests.e2e import conftest
from worker.sandbox import app, messages

ADDRESS = "sam@example.com"


def test_ssosync_a_recycled_address_inherits_no_access_until_somebody_allows_it(desk: conftest.Desk) -> None:
    """358: and from then on it leads there, so that to lead back is a move again."""
    fleet, *_ = members = desk.members()
    old, new = [driver for driver in desk.people.drivers if driver not in members[fleet]][:2]
    desk.people.change_driver(old, email=ADDRESS)
    desk.write({fleet: [*members[fleet], ADDRESS]})
    assert desk.run("once").code == 0
    assert desk.changed() == [("attach", old, fleet)]
    desk.people.change_driver(old, email="sam.old@example.com")
    desk.people.change_driver(new, email=ADDRESS)

    ended = desk.run("once", "--json")
    plan = ended.document["plan"]
    assert (ended.code, ended.document["result"], plan["changes"]) == (3, "held", [])
    assert {(each["action"], each["driver"], each["guard"]) for each in plan["held"]} == {
        ("attach", new, "reference_moved"),
        ("detach", old, "reference_moved"),
    }
    assert f"{ADDRESS} led to {old} before, and leads to {new} now" in plan["held"][0]["message"]
    assert len(desk.posts()) == 1

    assert desk.run("approve", plan["digest"]).code == 0
    assert desk.run("once").code == 0
    assert desk.changed()[1:] == [("attach", new, fleet), ("detach", old, fleet)]

    desk.people.change_driver(new, email="sam.new@example.com")
    desk.people.change_driver(old, email=ADDRESS)
    assert desk.run("once").code == 3


def test_ssosync_what_is_written_but_never_read_back_is_not_written_for_ever(open_desk: conftest.Open) -> None:
    """329: said loudly in each run, and held after three."""

    def lying(inner: messages.App) -> messages.App:
        assert isinstance(inner, app.Sandbox)

        async def answer(scope: messages.Scope, receive: messages.Receive, send: messages.Send) -> None:
            await inner(scope, receive, send)
            if scope["method"] == "POST":
                effect = inner.roster.effects[-1]
                inner.roster.detach(effect.driver, effect.fleet)

        return answer

    desk = open_desk(around=lying)
    fleet, *_ = members = desk.members()
    newcomer = next(driver for driver in desk.people.drivers if not desk.people.fleets_of(driver))
    desk.write({fleet: [*members[fleet], newcomer]})
    reports = [desk.run("once", "--json") for _ in range(3)]
    for ended in reports:
        [change] = ended.document["changes"]
        assert (ended.code, change["outcome"], change["code"]) == (4, "unknown", "not_converging")
        assert "not_converging" in {event["event"] for event in ended.events}
        assert [problem["where"] for problem in ended.document["problems"]] == ["verification"]
    # The record has what was found out, not what was answered.
    shown = desk.run("show", reports[0].document["run"], "--json").document
    assert shown == reports[0].document
    assert desk.folder.journal("select outcome, code from intents") == [("unknown", "not_converging")] * 3

    ended = desk.run("once", "--json")
    [held] = ended.document["plan"]["held"]
    assert (ended.code, held["guard"], held["driver"]) == (3, "not_converging", newcomer)
    assert "3 times" in held["message"]
    assert len(desk.posts()) == 3


def test_the_replayed_key_attach_detach_by_hand_and_attach_again_takes_effect(desk: conftest.Desk) -> None:
    """A key made of driver and fleet would replay the first answer within a day, and change nothing."""
    fleet, *_ = members = desk.members()
    driver = next(driver for driver in desk.people.drivers if driver not in members[fleet])
    desk.write({fleet: [*members[fleet], driver]})
    for number in range(2):
        assert desk.run("once", "--json").document["outcomes"]["applied"] == 1, number
        assert driver in desk.people.members(fleet)
        desk.people.detach(driver, fleet)
    assert desk.changed() == [("attach", driver, fleet)] * 2
    assert len({post.key for post in desk.posts()}) == 2
    assert {key for (key,) in desk.folder.journal("select key from intents")} == {post.key for post in desk.posts()}
