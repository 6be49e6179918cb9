"""What each event's line must look like, derived from the types of the catalogue.

`schema` renders these shapes as a JSON Schema for others, and `verify` checks lines against
them, so the two cannot differ.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

from rotator.adapters.audit.line import LEADING, TRAILING, own_fields
from rotator.events import CATALOGUE, Event, Phase

DIGEST = "^[0-9a-f]{64}$"
INSTANT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"

_CHAIN_FIELDS = {
    "ts": "When the line was written, by the writer's clock: RFC 3339, UTC, microseconds.",
    "chain": "Identifies the chain: one for each file, or for each process on standard output.",
    "seq": "The line's number in its chain, from 1.",
    "prev": "SHA-256 of the bytes of the line before it, without the newline. In a chain's first "
    "line: the head of the file before, where the writer knew it, else 64 zeros.",
    "event": "The event's name.",
    "instance": "The instance, as configured.",
}


@dataclass(frozen=True, slots=True)
class Field:
    """What one field may hold.

    Attributes:
        type: ``string``, ``integer``, ``number`` or ``boolean``.
        description: what it means.
        nullable: whether it may be null.
        values: the only strings allowed, or None for any.
        pattern: what a string must match, or None.
        least: the smallest number allowed, or None.
    """

    type: str
    description: str
    nullable: bool = False
    values: tuple[str, ...] | None = None
    pattern: str | None = None
    least: int | None = None

    def admits(self, value: object) -> bool:
        """Tell whether the field may hold this JSON value."""
        if value is None:
            return self.nullable
        if not isinstance(value, _PYTHON[self.type]) or (
            isinstance(value, bool) and self.type != "boolean"
        ):
            return False
        if isinstance(value, str):
            known = self.values is None or value in self.values
            return known and (self.pattern is None or re.fullmatch(self.pattern, value) is not None)
        return self.least is None or not isinstance(value, int | float) or value >= self.least


_PYTHON: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What the line of one event must look like.

    Attributes:
        name: the event's name.
        step: whether it is written as an intent and an outcome, or once as a notice.
        description: what the event means.
        fields: every field of the line in the order in which they stand.
    """

    name: str
    step: bool
    description: str
    fields: Mapping[str, Field]

    def complaint(self, record: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a line of this event, or None."""
        for name, field in self.fields.items():
            if name not in record:
                return f"{self.name} has no field {name}"
            if not field.admits(record[name]):
                return f"{self.name} cannot have this {name}"
        surplus = record.keys() - self.fields.keys()
        if surplus:
            return f"{self.name} has no place for {', '.join(sorted(surplus))[:80]!a}"
        if (record["phase"] == Phase.OUTCOME) != (record["result"] is not None):
            return f"{self.name}: an outcome has a result, and an intent has none"
        if record["phase"] == Phase.INTENT and record["error"] is not None:
            return f"{self.name}: an intent has no error"
        return None


@cache
def shapes() -> Mapping[str, Shape]:
    """Return the shape of every event of the catalogue by its name."""
    return {event.name: _shape(event) for event in CATALOGUE}


def _shape(event: type[Event]) -> Shape:
    summary, told = _documentation(event)
    told = {**_documentation(Event)[1], **told}
    hints = get_type_hints(event)
    fields: dict[str, Field] = {}
    for name in (*LEADING, *own_fields(event), *TRAILING):
        if name in _CHAIN_FIELDS:
            fields[name] = _chain_field(name, event)
        elif name == "phase":
            phases = tuple(Phase) if event.step else (Phase.OUTCOME,)
            fields[name] = Field("string", told[name], values=tuple(map(str, phases)))
        else:
            fields[name] = _field(hints[name], told[name])
    return Shape(event.name, event.step, summary, fields)


def _chain_field(name: str, event: type[Event]) -> Field:
    description = _CHAIN_FIELDS[name]
    if name == "seq":
        return Field("integer", description, least=1)
    if name == "event":
        return Field("string", description, values=(event.name,))
    pattern = {"ts": INSTANT, "prev": DIGEST}.get(name)
    return Field("string", description, pattern=pattern)


def _field(hint: Any, description: str) -> Field:
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    nullable = NoneType in kinds
    (kind,) = (each for each in kinds if each is not NoneType)
    if issubclass(kind, StrEnum):
        return Field("string", description, nullable, values=tuple(map(str, kind)))
    if kind is datetime:
        return Field("string", description, nullable, pattern=INSTANT)
    names = {str: "string", bool: "boolean", int: "integer", float: "number"}
    return Field(names[kind], description, nullable)


def _documentation(event: type[Event]) -> tuple[str, dict[str, str]]:
    """Return a type's first paragraph, and what its docstring says of each attribute."""
    summary, _, attributes = inspect.getdoc(event).partition("Attributes:")  # type: ignore[union-attr]
    found = re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", attributes, re.MULTILINE)
    told = {name: _sentence(text) for name, text in found}
    return _sentence(summary.partition("\n\n")[0]), told


def _sentence(text: str) -> str:
    line = re.sub(r"\bNone\b", "null", " ".join(text.split()))
    return line[:1].upper() + line[1:]
