"""Holds every plan and report that the tests make to its schema.

Invariant: a document is compared with the schema as a reader would use it, and has no field that the schema does not
describe. Neighbours: `command` checks what a command prints, `tests.settings.test_schema` the schemas themselves.
"""

import functools
from typing import Any

import jsonschema

from worker.settings import schema

_NAMES: dict[str, schema.Name] = {"fleet-sync/plan@1": "plan", "fleet-sync/report@1": "report"}


def check(document: Any) -> None:
    """Fail if the document is a plan or report that its schema does not describe."""
    if isinstance(document, dict) and document.get("format") in _NAMES:
        _validator(_NAMES[document["format"]]).validate(document)


@functools.cache
def _validator(name: schema.Name) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(closed(schema.schema(name)))


def closed(node: Any) -> Any:
    """Return a schema that refuses fields that it does not describe."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    copy = {key: closed(value) for key, value in node.items()}
    return {"additionalProperties": False, **copy} if "properties" in node and node.get("type") == "object" else copy
