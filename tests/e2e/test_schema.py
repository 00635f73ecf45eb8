"""`fleet-sync schema`: what is printed is what the program checks."""

import jsonschema
import pytest

from tests.e2e import conftest
from tests.support import command


@pytest.mark.parametrize("name", ["settings", "membership"])
def test_it_is_a_json_schema(name: str) -> None:
    ended = command.run("schema", name)
    assert (ended.code, ended.stderr) == (0, "")
    jsonschema.Draft202012Validator.check_schema(ended.document)


def test_an_export_satisfies_it(desk: conftest.Desk) -> None:
    jsonschema.validate(desk.run("export", "--format", "json").document, command.run("schema", "membership").document)
