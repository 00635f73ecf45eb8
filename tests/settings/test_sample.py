"""The files of a new account are valid, and every key that they mention has the default that they show."""

import pathlib
import re

import anyio

from tests.support import file_sources
from worker.settings import account_folder, loader, model, sample

URL = "https://charge.example.com/v1"


def test_the_settings_load_with_every_default(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "fleet-sync.toml"
    path.write_text(sample.settings(URL, document="membership.yaml"))
    settings = loader.load(path, {})
    expected = model.Settings.model_validate({"sources": [{"kind": "file", "path": "membership.yaml"}]})
    assert settings.charge.base_url == URL
    assert settings.model_dump(exclude={"charge"}) == expected.model_dump(exclude={"charge"})


def test_in_a_folder_they_have_nothing_that_is_about_all_accounts(tmp_path: pathlib.Path) -> None:
    (tmp_path / "acme.toml").write_text(sample.settings(URL, document="acme.yaml", in_folder=True))
    settings = account_folder.load(tmp_path, "acme", account_folder.read_defaults(tmp_path))
    assert (settings.charge.base_url, settings.sources[0].title) == (URL, "acme.yaml")


def test_what_is_commented_out_is_the_default(tmp_path: pathlib.Path) -> None:
    text = sample.settings(URL, document="membership.yaml")
    uncommented = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert uncommented.count("\n# ") < text.count("\n# ") - 5
    paths = [tmp_path / "as-it-is.toml", tmp_path / "uncommented.toml"]
    for path, content in zip(paths, (text, uncommented), strict=True):
        path.write_text(content)
    assert loader.load(paths[0], {}) == loader.load(paths[1], {})


def test_the_document_is_valid_and_shows_each_kind_of_reference(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "membership.yaml"
    path.write_text(sample.MEMBERSHIP)
    rows = anyio.run(file_sources.of(path, path.name).read).rows
    assert {type(row.driver).__name__ for row in rows} == {"DriverByEmail", "DriverByMetadata"}
