"""An account that is opened for one command leaves nothing open: neither connections nor the writer lock."""

import pathlib

import pytest

from tests.support import clocks, doubles
from worker.core.model.secret import Secret
from worker.journal import sql_journal
from worker.service import composition
from worker.settings import model, secrets

KEY = Secret("ch_sk_test_x")

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path: pathlib.Path) -> model.Settings:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    return model.Settings.model_validate({"sources": [{"kind": "file", "path": "m.yaml"}], "journal": {"url": url}})


@pytest.mark.integration
async def test_an_account_closes_its_connections_and_its_journal(settings: model.Settings) -> None:
    """A close that is not awaited is a RuntimeWarning, and warnings are errors here."""
    async with composition.account(
        settings, secrets.Credentials(KEY, lambda: KEY), progress=doubles.Watcher()
    ) as opened:
        assert opened.settings is settings
    other = sql_journal.SqlJournal(settings.journal_url, clock=clocks.Still())
    assert await other.open() == ()
    await other.aclose()


async def test_a_record_is_closed_after_use(settings: model.Settings) -> None:
    async with composition.record(settings) as record:
        assert await record.runs() == ()
