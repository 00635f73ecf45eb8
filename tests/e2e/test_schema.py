"""`fleet-sync schema`: the printed schema is the one that the program checks."""

import json

import jsonschema

from tests.e2e import conftest
from tests.support import schemas


def test_they_are_json_schemas_and_an_export_satisfies_its_own(workspace: conftest.Workspace) -> None:
    settings, membership, export = workspace.together(
        ["schema", "settings"], ["schema", "membership"], ["export", "--format", "json"]
    )
    for ended in (settings, membership):
        assert (ended.code, ended.stderr) == (0, "")
        jsonschema.Draft202012Validator.check_schema(ended.document)
    jsonschema.validate(export.document, membership.document)
    assert export.document == {"fleets": dict(sorted(workspace.members().items()))}


def test_plans_and_reports_satisfy_their_own_and_a_damaged_one_does_not(workspace: conftest.Workspace) -> None:
    """Every document that a command prints in these tests is checked: `tests.support.command`."""
    fleet, *_ = members = workspace.members()
    workspace.write({**members, fleet: [*members[fleet][1:], "nobody@example.com"]})
    described = {name: workspace.run("schema", name).document for name in ("plan", "report")}
    workspace.run("plan", "--out", "plan.json")
    saved = json.loads((workspace.folder.path / "plan.json").read_text())
    report = workspace.run("once", "--json").document
    for document, schema in ((saved, described["plan"]), (report, described["report"])):
        validator = jsonschema.Draft202012Validator(schema)
        validator.validate(document)
        assert not validator.is_valid({**document, "format": "fleet-sync/other@1"})
        for required in schema["required"]:
            assert not validator.is_valid({key: document[key] for key in document if key != required}), required
    jsonschema.Draft202012Validator(schemas.closed(described["plan"])).validate(saved)
