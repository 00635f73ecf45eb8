"""Which plugins are loaded, and what is wrong with those that cannot be."""

import pathlib
import sys

import anyio
import pytest

from tests.settings import conftest as settings
from worker.core.model.errors import SettingsError
from worker.service import source_factory
from worker.settings import loader
from worker.sources import document_source, plugin_loader

PLUGIN = """
import pydantic
from worker.sources import plugin

print("imported")

class Keys(plugin.Settings):
    badge: str
    level: int = 1

class Fetcher:
    def __init__(self, keys, context):
        self.keys, self.context = keys, context

    async def fetch(self):
        text = f"driver,fleet\\n{self.keys.badge}@example.com,Paris\\n"
        return plugin.Fetched((plugin.Document(self.context.name, text.encode(), suffix=".csv"),))

    async def peek(self):
        return None

KIND = plugin.Kind(Keys, Fetcher, address=lambda keys: f"badge {keys.badge}")

class Clashing(plugin.Settings):
    format: str

CLASHING = plugin.Kind(Clashing, Fetcher, address=str)
NOTHING = 1
"""


@pytest.fixture
def install(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Return a folder of installed distributions, each with one entry point."""
    site = tmp_path / "site"
    entries = {
        "acme-badges": "badges = acme_badges:KIND",
        "acme-clashing": "clashing = acme_badges:CLASHING",
        "acme-nothing": "nothing = acme_badges:NOTHING",
        "acme-gone": "gone = acme_gone:KIND",
        "acme-missing": "missing = acme_badges:MISSING",
        "acme-file": "file = acme_badges:KIND",
    }
    for name, entry in entries.items():
        folder = site / f"{name.replace('-', '_')}-1.2.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (folder / "entry_points.txt").write_text(f"[fleet_sync.sources]\n{entry}\n")
    folder = site / "acme_plain-1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plain\nVersion: 1.2\n")
    (site / "acme_badges.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "acme_badges", raising=False)
    return site


def load(folder: pathlib.Path, text: str) -> list[document_source.DocumentSource]:
    (folder / "fleet-sync.toml").write_text(text)
    return source_factory.create(loader.load(folder / "fleet-sync.toml", {}))


def problems(folder: pathlib.Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(folder, text)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


BADGES = '[[sources]]\nkind = "badges"\nbadge = "alice"\n'


@pytest.mark.usefixtures("install")
class TestPlugins:
    def test_one_that_is_named_adds_its_kind(self, tmp_path: pathlib.Path) -> None:
        (source,) = load(tmp_path, f'plugins = ["acme-badges"]\n{BADGES}poll_seconds = 5\n')
        reading = anyio.run(source.read)
        assert (reading.source.kind, reading.source.name) == ("badges", "badge alice")
        assert [str(row.driver) for row in reading.rows] == ["alice@example.com"]

    def test_one_that_is_not_named_is_not_imported(
        self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (problem,) = problems(tmp_path, BADGES)
        assert problem == (
            'fleet-sync.toml:2:8: sources.kind: write "file", "http", "sftp", "object", "command", "sql" or "git", or '
            "name the plugin that adds it in plugins"
        )
        assert {offer.kind for offer in plugin_loader.offers()} >= {"badges", "gone"}
        assert "acme_badges" not in sys.modules
        assert capsys.readouterr().out == ""

    def test_its_keys_are_checked_as_ours_are(self, tmp_path: pathlib.Path) -> None:
        text = 'plugins = ["acme-badges"]\n[[sources]]\nkind = "badges"\nlevel = "2"\nbagde = "x"\nformat = "xml"\n'
        assert problems(tmp_path, text) == [
            "fleet-sync.toml:2:1: sources.badge is missing: write badge = …",
            "fleet-sync.toml:4:9: sources.level: write a whole number, without quotation marks",
            'fleet-sync.toml:5:1: unknown key "bagde" in sources: its keys are badge, level, kind, name, '
            'poll_seconds, format, delimiter, encoding, rows, fleets, completeness; did you mean "badge"?',
            'fleet-sync.toml:6:10: sources.format: write "auto", "yaml", "json", "toml", "csv" or "xlsx"',
        ]

    def test_no_key_of_a_plugin_is_a_charge_key(self, tmp_path: pathlib.Path) -> None:
        text = 'plugins = ["acme-badges"]\n[[sources]]\nkind = "badges"\nbadge = "ch_sk_test_x"\n'
        assert "the settings never contain a secret key" in problems(tmp_path, text)[0]

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("acme-unknown", '"acme-unknown" is not installed'),
            ("", '"" is not installed'),
            ("acme-plain", '"acme-plain" adds no kind of source'),
            ("acme-gone", "\"acme-gone\" cannot be loaded (No module named 'acme_gone')"),
            ("acme-missing", '"acme-missing" cannot be loaded'),
            ("acme-nothing", '"acme-nothing" cannot be used: acme_badges:NOTHING is not a worker.sources.plugin.Kind'),
            ("acme-file", '"acme-file" adds the kind "file", which exists already'),
            ("acme-clashing", 'its kind "clashing" has a key "format", which all kinds have'),
        ],
    )
    def test_one_that_cannot_be_used_is_an_error(self, name: str, problem: str, tmp_path: pathlib.Path) -> None:
        (found,) = problems(tmp_path, f'plugins = ["{name}"]\n{settings.SOURCES}')
        assert found.startswith("fleet-sync.toml:1:12: plugins: ") and problem in found

    def test_names_that_are_no_list_are_an_error(self, tmp_path: pathlib.Path) -> None:
        (found,) = problems(tmp_path, f'plugins = "acme-badges"\n{settings.SOURCES}')
        assert found.startswith("fleet-sync.toml:1:11: plugins: write a list")
