"""The `_defaults.toml` of a cluster while a worker runs: a change counts by itself, and never half or broken."""

import functools
import pathlib

import pytest
from structlog import testing

from worker.service import cluster, cluster_defaults

pytestmark = pytest.mark.anyio

VALID = '[cluster]\nurl = "postgresql://db.invalid/fleet"\n'
ACCOUNT = b'[[sources]]\npath = "x"\n'


class Defaults:
    """A file and what follows it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "_defaults.toml"
        self.write()
        self.followed = cluster_defaults.ClusterDefaults(functools.partial(cluster.cluster, folder))

    def write(self, more: str = "", *, text: str = VALID) -> None:
        self.path.write_text(text + more)

    async def check(self) -> None:
        """Check twice, because a change counts once two scans agree."""
        await self.followed.check()
        await self.followed.check()

    @property
    def interval(self) -> float:
        """Return what the defaults say that are in use."""
        return self.followed.found.validated("acme", ACCOUNT).sync.interval_seconds


@pytest.fixture
def defaults(tmp_path: pathlib.Path) -> Defaults:
    return Defaults(tmp_path)


async def test_a_change_counts_once_two_looks_agree(defaults: Defaults) -> None:
    defaults.write("[sync]\ninterval_seconds = 6\n")
    await defaults.followed.check()
    defaults.write("[sync]\ninterval_seconds = 60\n")
    await defaults.followed.check()
    assert defaults.interval == 300
    await defaults.followed.check()
    assert defaults.interval == 60


async def test_a_file_that_stays_the_same_is_not_read_again(defaults: Defaults) -> None:
    with testing.capture_logs() as lines:
        defaults.write("[sync]\ninterval_seconds = 60\n")
        for _ in range(3):
            await defaults.check()
    assert [line["event"] for line in lines] == ["settings_reloaded"]


@pytest.mark.parametrize("broken", ["[sync]\ninterval_seconds = -1\n", "nonsense", "[cluster]\n"])
async def test_a_broken_file_is_reported_once_and_leaves_the_last_valid_one_in_use(
    defaults: Defaults, broken: str
) -> None:
    defaults.write("[sync]\ninterval_seconds = 60\n")
    await defaults.check()
    defaults.write(text=broken)
    with testing.capture_logs() as lines:
        await defaults.check()
        await defaults.check()
    assert [line["event"] for line in lines] == ["settings_broken"]
    assert "_defaults.toml" in defaults.followed.error
    assert defaults.interval == 60
    defaults.write("[sync]\ninterval_seconds = 7\n")
    await defaults.check()
    assert (defaults.followed.error, defaults.interval) == ("", 7)


async def test_what_else_it_needs_may_come_back_while_the_file_stays_the_same(
    defaults: Defaults, tmp_path: pathlib.Path
) -> None:
    place = tmp_path / "database"
    defaults.write(text='[cluster]\nurl_file = "database"\n')
    await defaults.check()
    assert "database" in defaults.followed.error
    place.write_text("postgresql://db.invalid/fleet")
    await defaults.check()
    assert defaults.followed.error == "" or "read only at the start" in defaults.followed.error


async def test_a_file_that_is_gone_stays_in_use_until_it_is_back(defaults: Defaults) -> None:
    defaults.write("[sync]\ninterval_seconds = 60\n")
    await defaults.check()
    away = defaults.path.rename(defaults.path.with_suffix(".away"))
    await defaults.check()
    assert "the file is gone" in defaults.followed.error
    assert defaults.interval == 60
    away.rename(defaults.path)
    await defaults.check()
    assert defaults.followed.error == ""


async def test_a_folder_that_is_gone_changes_nothing(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    defaults = Defaults(folder)
    away = folder.rename(tmp_path / "away")
    await defaults.check()
    assert "cannot read the folder" in defaults.followed.error
    away.rename(folder)
    await defaults.check()
    assert (defaults.followed.error, defaults.interval) == ("", 300)


@pytest.mark.parametrize("more", ['[status]\nlisten = "127.0.0.1:0"\n', "permit_seconds = 4\n"])
async def test_what_concerns_the_process_needs_a_restart_and_that_is_said(defaults: Defaults, more: str) -> None:
    defaults.write(more)
    await defaults.check()
    assert "read only at the start" in defaults.followed.error
    defaults.write()
    await defaults.check()
    assert defaults.followed.error == ""
