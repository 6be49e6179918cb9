"""Frozen values to JSON objects and back, strictly: an unknown or missing field is an error.

Strict on purpose: a document that this version does not understand whole is left
as it is, rather than rewritten with a part of it lost.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from math import isfinite
from typing import Any, Literal

from rotator.core.durations import LONGEST
from rotator.core.instants import is_believable
from rotator.core.ledger import SCHEMA, ClaimKind, Ledger

_ABOUT = {
    ClaimKind.ROTATE: "nonce",
    ClaimKind.ROLLBACK: "key",
    ClaimKind.DISABLE: "key",
    ClaimKind.DELETE: "key",
    ClaimKind.FENCE: "op",
}
"""What a claim of each kind cannot be settled without."""

_MOST = 2**53
"""The largest whole number that every reader of JSON takes for the same."""


class Undecodable(ValueError):  # noqa: N818 - says what the document is
    """The document is not what this version of the program writes.

    Attributes:
        newer: whether it says that a newer version wrote it.
    """

    def __init__(self, detail: str, *, newer: bool = False) -> None:
        """Keep whether a newer version wrote it."""
        super().__init__(detail)
        self.newer = newer


def encode_ledger(ledger: Ledger) -> dict[str, Any]:
    """Return the ledger as a JSON object (seconds for durations, RFC 3339 for instants)."""
    encoded = _encode(ledger)
    assert isinstance(encoded, dict)
    return encoded


def decode_ledger(document: Mapping[str, Any]) -> Ledger:
    """Return the ledger that a JSON object holds.

    Raises:
        Undecodable: it is of a newer schema, or not understood whole.
    """
    schema = document.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise Undecodable(f"schema {schema} is newer than {SCHEMA}", newer=True)
    if schema != SCHEMA:
        raise Undecodable("no known schema")
    ledger = _decode(Ledger, document, "ledger")
    assert isinstance(ledger, Ledger)
    claim = ledger.pending
    if claim is not None and getattr(claim, _ABOUT[claim.kind]) is None:
        raise Undecodable(f"ledger.pending.{_ABOUT[claim.kind]} is missing in a {claim.kind}")
    return ledger


def _encode(value: Any) -> Any:
    """Encode one value by its run-time type."""
    if is_dataclass(value):
        return {each.name: _encode(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, tuple):
        return [_encode(each) for each in value]
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Resolve a dataclass's annotations once."""
    return typing.get_type_hints(kind)


def _decode(kind: Any, value: Any, place: str) -> Any:
    """Decode one value as the annotated type, or raise with its place."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        inner = next(each for each in typing.get_args(kind) if each is not type(None))
        return None if value is None else _decode(inner, value, place)
    if origin is Literal:
        if value in typing.get_args(kind):
            return value
    elif origin is tuple:
        if isinstance(value, list):
            inner = typing.get_args(kind)[0]
            return tuple(_decode(inner, each, f"{place}[]") for each in value)
    elif is_dataclass(kind):
        if isinstance(value, Mapping):
            return _decode_object(kind, value, place)
    else:
        return _decode_plain(kind, value, place)
    raise Undecodable(f"{place} is not what it should be")


def _decode_object(kind: Any, value: Mapping[str, Any], place: str) -> Any:
    """Decode a JSON object as a dataclass with exactly its fields."""
    names = {each.name for each in fields(kind)}
    odd = sorted(names.symmetric_difference(value))
    if odd:
        raise Undecodable(f"{place} lacks or adds: {', '.join(map(str, odd))[:200]}")
    hints = _hints(kind)
    return kind(**{name: _decode(hints[name], value[name], f"{place}.{name}") for name in names})


def _decode_plain(kind: Any, value: Any, place: str) -> Any:
    """Decode a JSON scalar; what no plan could reckon with is refused like what is malformed."""
    try:
        if kind is datetime and isinstance(value, str):
            instant = datetime.fromisoformat(value)
            if instant.tzinfo is not None and is_believable(instant):
                return instant.astimezone(UTC)
        elif kind is timedelta and _is_number(value):
            duration = timedelta(seconds=value)
            if timedelta() <= duration <= LONGEST:
                return duration
        elif kind is float and _is_number(value):
            if isfinite(value):
                return float(value)
        elif kind is int and type(value) is int:
            if 0 <= value <= _MOST:
                return value
        elif issubclass(kind, Enum):
            return kind(value)
        elif kind in (str, bool) and type(value) is kind:
            return value
    except (ValueError, OverflowError):
        pass
    raise Undecodable(f"{place} is not a {kind.__name__}")


def _is_number(value: Any) -> bool:
    """Tell whether a JSON value is a number (JSON booleans are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)
