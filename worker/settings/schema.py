"""The JSON Schemas of the operator's files, for editors and validators.

Invariant: what the program reads without a problem, the schema accepts. The files in `config/schema` are these.
Neighbours: `model` is the source of the one, `sources.schema` of the other.
"""

from typing import Any, Literal

from worker.settings import model
from worker.sources import schema as membership

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Name = Literal["settings", "membership"]


def schema(name: Name) -> dict[str, Any]:
    """Give the JSON Schema of a settings file or of a membership document, as plain data."""
    if name == "membership":
        return {"$schema": DIALECT, **membership.MEMBERSHIP}
    described = model.Settings.model_json_schema()
    return {"$schema": DIALECT, "title": "Settings of fleet-sync", **_untitled(described)}


def _untitled(node: Any) -> Any:
    """Leave out the titles that pydantic makes of names: they say nothing that the names do not."""
    if isinstance(node, dict):
        return {key: _untitled(value) for key, value in node.items() if key != "title" or not isinstance(value, str)}
    return [_untitled(item) for item in node] if isinstance(node, list | tuple) else node
