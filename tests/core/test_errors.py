"""The error tree: every error has a remedy and an exit code."""

import re
import typing

import pytest

from worker.core.model.errors import (
    ChargeError,
    FleetSyncError,
    NotFound,
    ObserveOnly,
    Paused,
    ProblemsError,
    RateLimited,
    ReadingError,
    SettingsError,
    SourceError,
    Stopped,
    Unreachable,
    __doc__,
)
from worker.core.model.problem import Problem
from worker.sources import fetching


def below(kind: type[FleetSyncError]) -> set[type[FleetSyncError]]:
    return {kind}.union(*(below(each) for each in kind.__subclasses__()))


ABSTRACT = {FleetSyncError, ProblemsError, ChargeError}
"""Never raised themselves."""

RAISED = sorted(below(FleetSyncError) - ABSTRACT, key=lambda kind: kind.__name__)


def made(kind: type[FleetSyncError]) -> FleetSyncError:
    if issubclass(kind, ProblemsError):
        return kind([Problem("a.yaml:1:1", "no")])
    return kind("no", exit_code=130) if issubclass(kind, Stopped) else kind("no")


@pytest.mark.parametrize("kind", RAISED)
def test_every_error_has_a_code_a_remedy_and_an_exit_code(kind: type[FleetSyncError]) -> None:
    error = made(kind)
    assert error.code.replace("_", "").isalpha()
    assert error.code == error.code.lower() != "error"
    assert error.remedy.endswith(".")
    assert error.exit_code == {Stopped: 130, ObserveOnly: 3, Paused: 3}.get(kind, 1)
    assert str(error) == error.message != ""


def test_no_two_errors_share_a_code() -> None:
    assert len({kind.code for kind in RAISED}) == len(RAISED)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Each class is indented below its base class."""
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (__doc__ or "").splitlines():
        if found := re.match(r"[ │├└─]*([A-Z][A-Za-z]+)(  |$)", line):
            while above and above[-1][0] >= found.start(1):
                above.pop()
            drawn[found[1]] = above[-1][1] if above else ""
            above.append((found.start(1), found[1]))
    for kind in below(FleetSyncError) - {FleetSyncError, ProblemsError}:
        bases = [base.__name__ for base in kind.__mro__[1:] if base is not ProblemsError]
        assert drawn.pop(kind.__name__) == bases[0]
    assert drawn == {"FleetSyncError": ""}


def test_what_is_known_at_the_place_wins_over_the_class() -> None:
    error = ReadingError("no", code="too_many_unresolved", remedy="Look.")
    assert (error.code, error.remedy) == ("too_many_unresolved", "Look.")
    assert SourceError([], remedy="Look.").remedy == "Look."


def test_several_problems_are_a_line_each() -> None:
    problems = [Problem("a.yaml:1:1", "no mode"), Problem("a.yaml:2:1", "no name")]
    error = SettingsError(problems)
    assert str(error) == "a.yaml:1:1: no mode\na.yaml:2:1: no name"
    assert error.problems == tuple(problems)


def test_an_answer_of_charge_keeps_its_status_and_request_id() -> None:
    error = NotFound("no such driver", code="driver_not_found", status=404, request_id="req_1")
    assert (error.code, error.status, error.request_id) == ("driver_not_found", 404, "req_1")
    limited = RateLimited("slow down", retry_after=1.5, code="rate_limit", request_id="req_2")
    assert (limited.code, limited.status, limited.retry_after, limited.request_id) == ("rate_limit", 429, 1.5, "req_2")
    assert Unreachable("reset").status is None


@pytest.mark.parametrize("code", typing.get_args(fetching.Code))
def test_every_way_in_which_a_source_fails_has_its_own_remedy(code: str) -> None:
    error = SourceError([Problem("hr.csv", "no")], code=code)
    assert error.remedy.endswith(" Nothing was changed.")
    assert (error.remedy == SourceError.remedy) is (code in ("source_invalid", "source_empty"))
