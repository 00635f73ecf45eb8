"""The JSON Schema of a membership document.

Invariant: it accepts what `documents` accepts without a problem. Numbers are allowed where a text is meant, since
editors see a number where fleet-sync keeps the text. Neighbours: `settings.schema` hands it out.
"""

from typing import Any

_ID = "[A-Za-z0-9]{32}"
_MOMENT = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9]))?$"
)
_DRIVER: dict[str, Any] = {
    "description": "A driver: an id (drv_…), an e-mail address, or metadata as key=value.",
    "type": "string",
    "pattern": rf"^(drv_{_ID}|[A-Za-z0-9_.-]+=.+|[^\s@]+@[^\s@]+)$",
}

MEMBERSHIP: dict[str, Any] = {
    "title": "Memberships of fleet-sync",
    "description": "Which drivers should be in which fleets. Fleets that do not appear are never touched.",
    "type": "object",
    "required": ["fleets"],
    "additionalProperties": False,
    "properties": {
        "fleets": {
            "description": "The managed fleets, by id (flt_…) or by exact name.",
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": rf"^(flt_{_ID}|(?!flt_).*\S.*)$"},
            "additionalProperties": {"anyOf": [{"$ref": "#/$defs/drivers"}, {"$ref": "#/$defs/fleet"}]},
        }
    },
    "$defs": {
        "drivers": {
            "description": "Everybody who should be in the fleet; [] if nobody.",
            "type": "array",
            "items": {"anyOf": [{"$ref": "#/$defs/driver"}, {"$ref": "#/$defs/row"}]},
        },
        "driver": _DRIVER,
        "fleet": {
            "description": "A fleet with a mode of its own.",
            "type": "object",
            "required": ["drivers"],
            "additionalProperties": False,
            "properties": {
                "mode": {
                    "description": "exact attaches and detaches; additive never detaches.",
                    "enum": ["exact", "additive"],
                },
                "drivers": {"$ref": "#/$defs/drivers"},
            },
        },
        "row": {
            "description": "A driver for a time, or with a note.",
            "type": "object",
            "required": ["driver"],
            "additionalProperties": False,
            "properties": {
                "driver": {"$ref": "#/$defs/driver"},
                "from": {"$ref": "#/$defs/moment", "description": "The first moment of the membership."},
                "until": {"$ref": "#/$defs/moment", "description": "The first moment without the membership."},
                "note": {"description": "Anything.", "type": ["string", "number", "boolean"]},
            },
        },
        "moment": {
            "description": "A date, meaning midnight UTC, or a date and time with its offset.",
            "type": "string",
            "pattern": _MOMENT,
        },
    },
}
