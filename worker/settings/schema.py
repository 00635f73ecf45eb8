"""The JSON Schemas of the operator's files and of what the program prints, for editors, validators and programs.

Invariant: a schema accepts whatever the program accepts or prints. `config/schema` contains those of the files.
Neighbours: `model` defines the settings, `sources.schema` the membership document, `core.model.document_schema` plans
and reports.
"""

from typing import Any, Literal

from worker.core.model import document_schema
from worker.settings import model
from worker.sources import schema as membership

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_PLAN = {"title": "Plan of fleet-sync", "description": "What `plan --json` prints and `plan --out` saves."}
_REPORT = {"title": "Report of fleet-sync", "description": "What `once`, `apply` and `show` print with `--json`."}

Name = Literal["settings", "membership", "plan", "report"]


def schema(name: Name) -> dict[str, Any]:
    """Return the JSON Schema of a settings file, a membership document, a plan or a report."""
    match name:
        case "membership":
            return {"$schema": DIALECT, **membership.MEMBERSHIP}
        case "plan":
            return {"$schema": DIALECT, **_PLAN, **document_schema.PLAN}
        case "report":
            return {"$schema": DIALECT, **_REPORT, **document_schema.REPORT}
        case "settings":
            return _settings()


def _settings() -> dict[str, Any]:
    settings = model.Settings.model_json_schema()
    return {"$schema": DIALECT, "title": "Settings of fleet-sync", **_without_titles(settings)}


def _without_titles(node: Any) -> Any:
    """Return the schema without the titles that pydantic derives from names."""
    if isinstance(node, dict):
        return {
            key: _without_titles(value) for key, value in node.items() if key != "title" or not isinstance(value, str)
        }
    return [_without_titles(item) for item in node] if isinstance(node, list | tuple) else node
