"""`fleet-sync schema`: the printed schema is the one that the program checks."""

import jsonschema

from tests.e2e import conftest


def test_they_are_json_schemas_and_an_export_satisfies_its_own(workspace: conftest.Workspace) -> None:
    settings, membership, export = workspace.together(
        ["schema", "settings"], ["schema", "membership"], ["export", "--format", "json"]
    )
    for ended in (settings, membership):
        assert (ended.code, ended.stderr) == (0, "")
        jsonschema.Draft202012Validator.check_schema(ended.document)
    jsonschema.validate(export.document, membership.document)
    assert export.document == {"fleets": dict(sorted(workspace.members().items()))}
