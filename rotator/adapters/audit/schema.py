"""The JSON Schema of the audit trail's lines, derived from the catalogue.

``python -m rotator.adapters.audit.schema > docs/audit-event.schema.json`` writes it anew.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from rotator.adapters.audit.shape import Field, Shape, shapes


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that every line of a trail satisfies."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of rotator's audit trail",
        "description": "A line that a crash cut short is no JSON; the line after it, "
        "audit.sealed, gives its length and digest.",
        "oneOf": [{"$ref": f"#/$defs/{shape.name}"} for shape in shapes().values()],
        "$defs": {shape.name: _event(shape) for shape in shapes().values()},
    }


def _event(shape: Shape) -> dict[str, Any]:
    event: dict[str, Any] = {
        "description": shape.description,
        "type": "object",
        "properties": {name: _property(field) for name, field in shape.fields.items()},
        "required": list(shape.fields),
        "additionalProperties": False,
    }
    if shape.step:
        event["if"] = {"properties": {"phase": {"const": "intent"}}}
        event["then"] = {"properties": {"result": {"const": None}, "error": {"const": None}}}
        event["else"] = {"properties": {"result": {"type": "string"}}}
    else:
        event["properties"]["result"]["type"] = "string"
        event["properties"]["result"]["enum"].remove(None)
    return event


def _property(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": field.description,
        "type": [field.type, "null"] if field.nullable else field.type,
    }
    if field.values is not None and len(field.values) == 1:
        found["const"] = field.values[0]
    elif field.values is not None:
        found["enum"] = [*field.values, *([None] if field.nullable else [])]
    if field.pattern is not None:
        found["pattern"] = field.pattern
    if field.least is not None:
        found["minimum"] = field.least
    return found


def render() -> str:
    """Return the schema as it stands in ``docs/audit-event.schema.json``."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
