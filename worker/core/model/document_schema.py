"""The JSON Schemas of plans and reports, for programs that read them.

Invariant: every plan and report is valid. Fields are only ever added, so a program must ignore fields that it does not
know, and the schemas allow them. Neighbours: `serialization` writes the documents.
"""

from typing import Any

from worker.core.model.desired import Mode
from worker.core.model.outcomes import OUTCOME_NAMES
from worker.core.model.plan import Action
from worker.core.model.problem import ProblemCode
from worker.core.model.report import RunResult

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_COUNT_OR_NULL: Schema = {"type": ["integer", "null"], "minimum": 0}
_DRIVER: Schema = {"type": "string", "pattern": "^drv_[A-Za-z0-9]{32}$"}
_FLEET: Schema = {"type": "string", "pattern": "^flt_[A-Za-z0-9]{32}$"}
_DIGEST: Schema = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
_MOMENT: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
}

_MOMENT_OR_NULL: Schema = {"anyOf": [_MOMENT, {"type": "null"}]}


def _object(properties: Schema, *, optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_CHANGE: Schema = {"action": {"enum": [action.value for action in Action]}, "driver": _DRIVER, "fleet": _FLEET}
_PLANNED: Schema = {**_CHANGE, "origin": _TEXT_OR_NULL}
_HELD: Schema = {**_PLANNED, "guard": _TEXT, "message": _TEXT}
_PROBLEM = _object(
    {
        "where": _TEXT,
        "message": _TEXT,
        "code": {"enum": [code.value for code in ProblemCode]},
        "remedy": _TEXT_OR_NULL,
        "note": {"type": "boolean"},
    }
)
_WINDOW = _object(
    {
        "hours": {"type": "number", "exclusiveMinimum": 0},
        "since": _MOMENT_OR_NULL,
        **dict.fromkeys(("detached", "attached", "approved"), _COUNT),
    }
)
_SOURCE = _object(
    {
        **dict.fromkeys(("kind", "name", "revision", "proof"), _TEXT),
        "rows": _COUNT,
        "modified": _MOMENT_OR_NULL,
    }
)
_NAMES: Schema = {"type": "object", "additionalProperties": _TEXT}
_RESULT = _object(
    {
        **_CHANGE,
        "outcome": {"enum": [*OUTCOME_NAMES, None]},
        "attempts": _COUNT,
        "request_id": _TEXT_OR_NULL,
        "code": _TEXT_OR_NULL,
        "message": _TEXT_OR_NULL,
        "repair": {"type": "boolean"},
    },
    optional=("repair",),
)

PLAN = _object(
    {
        "format": {"const": "fleet-sync/plan@1"},
        "digest": _DIGEST,
        "held_digest": {"anyOf": [_DIGEST, {"type": "null"}]},
        "account": _object({"base_url": _TEXT, "mode": _TEXT}),
        "created": _MOMENT,
        "sources": _list(_SOURCE),
        "changes": _list(_object(_PLANNED)),
        "held": _list(_object(_HELD)),
        "shrunk": _list(_object({"source": _TEXT, "rows": _COUNT, "baseline": _COUNT, "message": _TEXT})),
        "problems": _list(_PROBLEM),
        "summary": _object(
            {**dict.fromkeys(("attach", "detach", "held", "in_sync", "fleets", "drivers"), _COUNT), "window": _WINDOW}
        ),
        "cost": _object({"requests": _COUNT, "seconds": {"type": "number", "minimum": 0}}),
        "names": _NAMES,
        # Only in saved plans:
        "approval": _TEXT,
        "approved": _list(_object(_HELD)),
        "dated": _list(_object(_PLANNED)),
        "fleets": {
            "type": "object",
            "propertyNames": _FLEET,
            "additionalProperties": _object(
                {"mode": {"enum": [mode.value for mode in Mode]}, "listed_unmanaged": {"type": "boolean"}},
                optional=("listed_unmanaged",),
            ),
        },
        "drivers": {
            "type": "object",
            "propertyNames": _DRIVER,
            "additionalProperties": _object({"seen": _list(_FLEET), "wanted": _list(_FLEET)}),
        },
        "rows": {"type": "object", "additionalProperties": _TEXT},
        "unsettled": {"type": "boolean"},
        "signature": _TEXT,
    },
    optional=("approval", "approved", "dated", "fleets", "drivers", "rows", "unsettled", "signature"),
)

REPORT = _object(
    {
        "format": {"const": "fleet-sync/report@1"},
        "run": {"type": "string", "pattern": "^run_"},
        "result": {"enum": [*(result.value for result in RunResult), None]},
        "exit_code": {"type": ["integer", "null"]},
        "started": _MOMENT,
        "finished": _MOMENT_OR_NULL,
        "plan": {"anyOf": [PLAN, {"type": "null"}]},
        "outcomes": _object(dict.fromkeys(OUTCOME_NAMES, _COUNT)),
        "changes": _list(_RESULT),
        "problems": _list(_PROBLEM),
        "requests": _object(dict.fromkeys(("reads", "writes", "retries", "rate_limited"), _COUNT_OR_NULL)),
        "error": {"anyOf": [_object({"code": _TEXT, "message": _TEXT, "remedy": _TEXT}), {"type": "null"}]},
        "names": _NAMES,
        # Only in `show`, if the run used one up:
        "approval": _object({"digest": _DIGEST, "by": _TEXT_OR_NULL, "approved": _MOMENT_OR_NULL}),
    },
    optional=("approval",),
)
