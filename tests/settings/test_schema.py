"""The schemas: valid, as committed, and of one mind with the reader."""

import functools
import json
import pathlib
import tomllib
from typing import Any

import anyio
import hypothesis
import jsonschema
import pytest
from hypothesis import strategies as st

from tests.settings import conftest
from tests.support import file_sources, schemas
from worker.core.planning import references
from worker.settings import schema
from worker.sources import document_reader, membership_document
from worker.sources.formats import json_format, toml_format, yaml_format

ID = "jFme4vQtEAyhWAWt18YgmYvHSUL4AXx5"
CONFIG = pathlib.Path(__file__).parents[2] / "config"

NAMES: list[schema.Name] = ["settings", "membership"]
PRINTED: list[schema.Name] = ["plan", "report"]


@functools.cache  # making the one of the settings takes longer than using it
def validator(name: schema.Name) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema.schema(name))


@pytest.mark.integration
@pytest.mark.parametrize("name", [*NAMES, *PRINTED])
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


@pytest.mark.parametrize("name", PRINTED)
def test_a_program_must_accept_fields_that_it_does_not_know(name: schema.Name) -> None:
    """Later versions add some; the tests of commands refuse them, so that the schema describes every field."""
    assert 'additionalProperties": false' not in json.dumps(schema.schema(name))
    assert 'additionalProperties": false' in json.dumps(schemas.closed(schema.schema(name)))


def test_the_annotated_settings_fit_their_schema() -> None:
    annotated = tomllib.loads((CONFIG / "fleet-sync.toml").read_text())
    assert [*validator("settings").iter_errors(annotated)] == []


def test_the_sample_document_fits_its_schema_and_is_read() -> None:
    """It need not be ours: an operator may have replaced it with a document of their own."""
    path = CONFIG / "membership.yaml"
    validator("membership").validate(yaml_format.parse(path.read_text()).data)
    reading = anyio.run(file_sources.of(path, path.name).read)
    assert reading.rows and reading.fleets


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "rate_limit: {}",
        "sources: []",
        "sources: [{}]",
        "sources: [{path: ''}]",
        "sources: [{kind: http, path: a}]",
        "sources: [{path: a}]\npase: {}",
        "sources: [{path: a}]\nsync: {mode: exat}",
        "sources: [{path: a}]\nstatus: {listen: ':1'}",
    ],
)
def test_wrong_settings_do_not_fit(text: str) -> None:
    assert not validator("settings").is_valid(yaml_format.parse(text).data)


@pytest.mark.parametrize(
    "text",
    [
        f"guard.must_see = ['drv_{ID}/flt_{ID}']",
        "charge.base_url = 'HTTPS://API.chargeapi.co:8443/v1/'",
        "charge.base_url = 'https://h/a@b:c//'",
        "charge.base_url = 'http://[::1]:8080/v1'",
        "charge.base_url = 'http://localhost'",
        "journal.url = 'sqlite:///fleet-sync.db'",
        "journal.url = 'sqlite:////var/lib/a b/j.db'",
        "journal.url = 'sqlite:///:memory:.db'",
        "journal.url = 'postgresql://'",
        "status.listen = ''",
        "status.listen = 'localhost:0'",
        "status.listen = '[::1]:8080'",
        "journal.url = 'postgresql://u:p@h/d?sslmode=require#x'",
    ],
)
def test_settings_that_are_read_fit(text: str, load: conftest.Load) -> None:
    load(text + "\n")
    assert [*validator("settings").iter_errors(tomllib.loads(f"{text}\n{conftest.SOURCES}"))] == []


@pytest.mark.parametrize(
    "text",
    [
        "charge.api_key_file = 'ch_sk_live_a'",
        "guard.must_see = ['a']",
        f"guard.must_see = ['drv_{ID}']",
        f"guard.must_see = ['flt_{ID}/drv_{ID}']",
        f"guard.must_see = ['drv_{ID}/flt_{ID}/x']",
        f"guard.must_see = ['drv_{ID}x/flt_{ID}']",
        "charge.base_url = ''",
        "charge.base_url = 'api.chargeapi.co/v1'",
        "charge.base_url = 'ftp://h/v1'",
        "charge.base_url = 'https://'",
        "charge.base_url = 'https:///v1'",
        "charge.base_url = 'https://:443/v1'",
        "charge.base_url = 'https://user@h/v1'",
        "charge.base_url = 'https://h/v1?a'",
        "charge.base_url = 'https://h/v1#a'",
        "charge.base_url = 'https://h/v 1'",
        "charge.base_url = 'https://h\\@evil/v1'",
        "journal.url = ''",
        "journal.url = 'fleet-sync.db'",
        "journal.url = 'sqlite:///'",
        "journal.url = 'sqlite:///folder/'",
        "journal.url = 'sqlite:///:memory:'",
        "journal.url = 'sqlite:///a.db?mode=ro'",
        "journal.url = 'mysql://h/d'",
        "journal.url = 'postgresql://u:p p@h/d'",
        "status.listen = ':8080'",
        "status.listen = '::1:8080'",
        "status.listen = 'http://127.0.0.1:8080'",
        "status.listen = '127.0.0.1'",
    ],
)
def test_settings_that_are_refused_do_not_fit(text: str, refused: conftest.Refused) -> None:
    assert len(refused(text + "\n")) == 1
    assert not validator("settings").is_valid(tomllib.loads(f"{text}\n{conftest.SOURCES}"))


@pytest.mark.parametrize(
    "text",
    [
        '{"fleets": {"a": []}}',
        '{"fleets": {"a": ["x@y", "b=c d", {"driver": "x@y", "until": "2026-01-01T00:00:00.5+02:00", "note": ""}]}}',
        '{"fleets": {"a": {"drivers": []}, "b": {"mode": "additive", "drivers": ["x@y"]}}}',
        '{"fleets": {"a": ["drv_bob@x.com", "drv_x=5", "drv_=@", "drv_short@x"]}}',
    ],
)
def test_a_valid_document_fits_the_schema(text: str) -> None:
    document = json_format.parse(text)
    assert document.data == json.loads(text)
    assert membership_document.read(document, "a").problems == ()
    validator("membership").validate(json.loads(text))


@hypothesis.given(st.lists(st.sampled_from(["drv_", ID, "a", "é", "@", "=", ".", "-", " ", "/"]), max_size=6))
def test_the_schema_accepts_exactly_the_valid_driver_references(parts: list[str]) -> None:
    text = "".join(parts)
    try:
        references.parse_driver(text)
    except ValueError:
        read = False
    else:
        read = True
    assert validator("membership").is_valid({"fleets": {"a": [text]}}) is read


@pytest.mark.parametrize(
    "text",
    [
        "fleets = {}",
        "fleets.a = 1",
        "fleets.flt_short = []",
        'fleets." " = []',
        "fleets.a = ['plainly wrong']",
        "fleets.a = ['drv_short']",
        f"fleets.a = ['drv_{ID}x']",
        "fleets.a = [{note = 'x'}]",
        "fleets.a = [{driver = 'x@y', form = '2026-01-01'}]",
        "fleets.a = [{driver = 'x@y', from = '1.1.2026'}]",
        "fleets.a = [{driver = 'x@y', from = '2026-01-01T00:00+02:60'}]",
        "fleets.a = [{driver = 'x@y', from = '2026-01-01T00:00+24:00'}]",
        "fleets.a = {mode = 'additive'}",
        "fleets.a = {mode = 'exakt', drivers = []}",
        "fleets.a = []\nfleet = 1",
    ],
)
def test_a_refused_document_does_not_fit_the_schema(text: str) -> None:
    document = toml_format.parse(text, texts=True)
    assert document_reader.read("a", ".toml", text.encode(), document_reader.DocumentOptions()).problems
    assert not validator("membership").is_valid(document.data)
