"""The plugin keeps the contract that fleet-sync has for all sources."""

import pathlib
from collections.abc import Iterator

import anyio
import pytest
from fleet_sync_directory import imitation, source

from worker.core.model.errors import SourceError
from worker.core.model.ports import Source
from worker.sources import contract

FLEETS = {"Paris": "grp_paris", "Lyon": "grp_lyon"}


class DirectoryOrigin(contract.Origin):
    """The imitation. Everyone in Lyon is in a group in a group."""

    secrets = (imitation.TOKEN,)

    def __init__(self, directory: imitation.Directory, url: str, folder: pathlib.Path) -> None:
        self.directory = directory
        (folder / "token").write_text(imitation.TOKEN)
        self.keys = {"url": url, "token_file": "token", "groups": FLEETS}

    async def publish(self, memberships: contract.Memberships) -> None:
        paris, lyon = (memberships.get(fleet, ()) for fleet in FLEETS)
        self.directory.change({"grp_paris": paris, "grp_lyon": ["grp_inner"], "grp_inner": [*lyon, "grp_lyon"]})

    cuts = 7
    """Replies: the revision, one page of each group, the revision again. Then listings that lack a member."""

    async def cut(self, place: int) -> None:
        if place < 5:
            self.directory.cut = place
        else:
            self.directory.lost = ("grp_paris", "grp_inner")[place - 5]

    async def stall(self) -> None:
        self.directory.stalled.set()


@pytest.fixture
def origin(tmp_path: pathlib.Path) -> Iterator[DirectoryOrigin]:
    directory = imitation.Directory()
    with directory.serving() as url:
        yield DirectoryOrigin(directory, url, tmp_path)


class TestContract(contract.SourceContract):
    """All tests of the contract."""

    kind = source.KIND
    cancel_seconds = 30.0  # also on a machine that is busy


def test_pages_and_nested_groups_are_followed(origin: DirectoryOrigin, tmp_path: pathlib.Path) -> None:
    people = [f"driver-{number}@example.com" for number in range(7)]
    origin.directory.change({"grp_paris": [*people[:5], "grp_inner"], "grp_inner": people[5:], "grp_lyon": []})
    reading = anyio.run(TestContract().source(origin.keys, tmp_path).read)
    assert [str(row.driver) for row in reading.rows] == people


@pytest.mark.parametrize(
    ("groups", "token", "code"),
    [
        ({"grp_paris": ["a@b"]}, imitation.TOKEN, "source_unreachable"),
        ({"grp_paris": ["a@b"], "grp_lyon": []}, "another token", "source_unauthorized"),
    ],
)
def test_what_the_directory_refuses_is_an_error(
    groups: dict[str, list[str]], token: str, code: str, origin: DirectoryOrigin, tmp_path: pathlib.Path
) -> None:
    origin.directory.change(groups)
    (tmp_path / "token").write_text(token)
    reading: Source = TestContract().source(origin.keys, tmp_path)
    with pytest.raises(SourceError) as caught:
        anyio.run(reading.read)
    assert caught.value.code == code
