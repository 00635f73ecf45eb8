"""Faults of every kind over a real connection: three runs converge, and nothing takes effect twice."""

import collections

import pytest

from tests.e2e import conftest
from worker.sandbox import faults, state

KINDS = ["500", "500_after", "503", "reset_before", "reset_after", "truncated", "html", "gateway_timeout", "html_200"]


@pytest.mark.slow
def test_at_most_three_runs_converge_under_a_tenth_of_every_fault(open_workspace: conftest.Open) -> None:
    """With nine kinds of faults, six requests in ten fail. All of a hundred drivers move, some redundantly."""
    people = state.SandboxState.populate(drivers=120, fleets=3)
    workspace = open_workspace(people, goes_wrong=faults.Faults(dict.fromkeys(KINDS, 0.1)))
    here, there, _ = members = workspace.members()
    wanted = {here: members[there], there: members[here]}
    workspace.write(wanted)
    swift = {
        "FLEET_SYNC_RETRY__MAX_ATTEMPTS": "8",
        "FLEET_SYNC_RETRY__MAX_SECONDS": "0.05",
        "FLEET_SYNC_GUARD__ALLOW_EMPTYING_FLEETS": "true",
        "FLEET_SYNC_GUARD__MAX_DETACH_FRACTION": "1",
        "FLEET_SYNC_GUARD__MAX_DETACH_FRACTION_PER_FLEET": "1",
    }
    results = []
    for _ in range(3):
        results.append(workspace.run("once", "--json", **swift).document["result"])
        if results[-1] in ("converged", "in_sync"):
            break
    assert {fleet: sorted(people.members(fleet)) for fleet in wanted} == wanted
    assert results[-1] in ("converged", "in_sync"), results
    assert max(collections.Counter(workspace.changed()).values()) == 1
    changing = collections.Counter(effect.key for effect in people.effects if effect.changed)
    assert max(changing.values()) == 1
    assert workspace.folder.journal("select count(*) from intents where outcome is null") == [(0,)]


def test_requests_that_hang_are_given_up_and_settled(open_workspace: conftest.Open) -> None:
    """A few reads and writes hang before or after their effect; the timeout is one second."""
    hanging = iter([None, "hang", None, None, "hang_after", "hang", "hang_after"])
    workspace = open_workspace(goes_wrong=faults.Faults(script=lambda _request: next(hanging, None)))
    fleet, *_ = members = workspace.members()
    newcomers = [driver for driver in workspace.people.drivers if driver not in members[fleet]]
    workspace.write({fleet: [*members[fleet], *newcomers]})
    ended = workspace.run("once", "--json", FLEET_SYNC_CHARGE__TIMEOUT_SECONDS="1")
    assert (ended.code, ended.document["result"]) == (0, "converged")
    assert sorted(workspace.changed()) == sorted(("attach", driver, fleet) for driver in newcomers)
