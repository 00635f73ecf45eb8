"""The JSON Schema of a membership document.

Invariant: it accepts every document that `membership_document` accepts. A note may be a number or a boolean, because
editors see one where fleet-sync keeps the text. Neighbours: `settings.schema` prints it.
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
    "pattern": rf"^(drv_{_ID}|[A-Za-z0-9_.-]+=\S(.*\S)?|[^\s@]+@[^\s@]+)$",
}

MEMBERSHIP: dict[str, Any] = {
    "title": "fleet-sync memberships",
    "description": "Which drivers should be in which fleets. Fleets that are not listed are never changed.",
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
            "description": "The drivers who should be in the fleet; [] for none.",
            "type": "array",
            "items": {"anyOf": [{"$ref": "#/$defs/driver"}, {"$ref": "#/$defs/row"}]},
        },
        "driver": _DRIVER,
        "fleet": {
            "description": "A fleet with its own mode or a description.",
            "type": "object",
            "required": ["drivers"],
            "additionalProperties": False,
            "properties": {
                "mode": {
                    "description": "exact attaches and detaches; additive never detaches.",
                    "enum": ["exact", "additive"],
                },
                "description": {
                    "description": "Free text for people.",
                    "type": ["string", "number", "boolean"],
                },
                "drivers": {"$ref": "#/$defs/drivers"},
            },
        },
        "row": {
            "description": "A driver with dates or a note.",
            "type": "object",
            "required": ["driver"],
            "additionalProperties": False,
            "properties": {
                "driver": {"$ref": "#/$defs/driver"},
                "from": {"$ref": "#/$defs/moment", "description": "The first moment of the membership."},
                "until": {"$ref": "#/$defs/moment", "description": "The first moment without the membership."},
                "note": {"description": "Free text, shown where the row is.", "type": ["string", "number", "boolean"]},
            },
        },
        "moment": {
            "description": "A date (midnight UTC), or a date and time with an offset.",
            "type": "string",
            "pattern": _MOMENT,
        },
    },
}
