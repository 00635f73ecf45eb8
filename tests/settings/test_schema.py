"""The schemas: valid, as committed, and of one mind with the reader."""

import json
import pathlib
import tomllib
from typing import Any

import anyio
import jsonschema
import pytest

from worker.settings import schema
from worker.sources import files, json_document, toml_document, yaml_document

CONFIG = pathlib.Path(__file__).parents[2] / "config"

NAMES: list[schema.Name] = ["settings", "membership"]


def validator(name: schema.Name) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema.schema(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_valid_and_says_what_it_is(name: schema.Name) -> None:
    described = schema.schema(name)
    jsonschema.Draft202012Validator.check_schema(described)
    assert list(described)[:2] == ["$schema", "title"]
    assert described["description"]


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_schema_is_the_one_of_the_code(name: schema.Name) -> None:
    """`fleet-sync schema NAME > config/schema/NAME.schema.json` writes it anew."""
    committed = (CONFIG / "schema" / f"{name}.schema.json").read_text()
    assert committed == json.dumps(schema.schema(name), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_described(name: schema.Name) -> None:
    def undescribed(node: Any, path: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        found = [f"{path}.{key}" for key, value in node.get("properties", {}).items() if not _described(value)]
        return found + [one for key, value in node.items() for one in undescribed(value, f"{path}.{key}")]

    assert undescribed(schema.schema(name), name) == []


def _described(node: dict[str, Any]) -> bool:
    return "description" in node or "$ref" in node


def test_the_annotated_settings_fit_their_schema() -> None:
    validator("settings").validate(tomllib.loads((CONFIG / "fleet-sync.toml").read_text()))


def test_the_sample_document_fits_its_schema_and_is_read() -> None:
    """It need not be ours: somebody may have put a document of their own in its place."""
    path = CONFIG / "membership.yaml"
    validator("membership").validate(yaml_document.parse(path.read_text()).data)
    reading = anyio.run(files.FileSource(path, path.name).read)
    assert reading.rows and reading.fleets


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "pace: {}",
        "sources: []",
        "sources: [{}]",
        "sources: [{path: ''}]",
        "sources: [{path: a, kind: ldap}]",
        "sources: [{path: a}]\npase: {}",
        "sources: [{path: a}]\nsync: {mode: exat}",
        "sources: [{path: a}]\nstatus: {listen: ':1'}",
    ],
)
def test_wrong_settings_do_not_fit(text: str) -> None:
    assert not validator("settings").is_valid(yaml_document.parse(text).data)


@pytest.mark.parametrize(
    "text",
    [
        '{"fleets": {"a": []}}',
        '{"fleets": {"a": ["x@y", "b=c d", {"driver": "x@y", "until": "2026-01-01T00:00:00.5+02:00", "note": ""}]}}',
        '{"fleets": {"a": {"drivers": []}, "b": {"mode": "additive", "drivers": ["x@y"]}}}',
    ],
)
def test_what_is_read_fits(text: str) -> None:
    assert json_document.parse(text).data == json.loads(text)
    validator("membership").validate(json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "fleets = {}",
        "fleets.a = 1",
        "fleets.flt_short = []",
        'fleets." " = []',
        "fleets.a = ['plainly wrong']",
        "fleets.a = ['drv_short']",
        "fleets.a = ['drv_short@x']",
        "fleets.a = [{note = 'x'}]",
        "fleets.a = [{driver = 'x@y', form = '2026-01-01'}]",
        "fleets.a = [{driver = 'x@y', from = '1.1.2026'}]",
        "fleets.a = {mode = 'additive'}",
        "fleets.a = {mode = 'exakt', drivers = []}",
        "fleets.a = []\nfleet = 1",
    ],
)
def test_what_is_refused_does_not_fit(text: str) -> None:
    assert not validator("membership").is_valid(toml_document.parse(text).data)
