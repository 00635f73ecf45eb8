"""The JSON Schemas of the operator's files, for editors and validators.

Invariant: a schema accepts whatever the program accepts. `config/schema` contains these schemas.
Neighbours: `model` defines the settings, `sources.schema` the membership document.
"""

from typing import Any, Literal

from worker.settings import model
from worker.sources import schema as membership

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Name = Literal["settings", "membership"]


def schema(name: Name) -> dict[str, Any]:
    """Return the JSON Schema of a settings file or of a membership document."""
    if name == "membership":
        return {"$schema": DIALECT, **membership.MEMBERSHIP}
    settings = model.Settings.model_json_schema()
    return {"$schema": DIALECT, "title": "Settings of fleet-sync", **_without_titles(settings)}


def _without_titles(node: Any) -> Any:
    """Return the schema without the titles that pydantic derives from names."""
    if isinstance(node, dict):
        return {
            key: _without_titles(value) for key, value in node.items() if key != "title" or not isinstance(value, str)
        }
    return [_without_titles(item) for item in node] if isinstance(node, list | tuple) else node
