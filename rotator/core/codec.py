"""Frozen values to JSON objects and back, strictly: an unknown or missing field is an error.

Strict on purpose: a document that this version does not understand whole is left
as it is, rather than rewritten with a part of it lost.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from math import isfinite
from typing import Any, Literal, TypeVar

from rotator.core.durations import LONGEST
from rotator.core.instants import is_believable
from rotator.core.ledger import SCHEMA, ClaimKind, Ledger, ServedKey

T = TypeVar("T")

_ABOUT = {
    ClaimKind.ROTATE: "nonce",
    ClaimKind.ROLLBACK: "key",
    ClaimKind.DISABLE: "key",
    ClaimKind.DELETE: "key",
    ClaimKind.FENCE: "op",
}
"""What a claim of each kind cannot be settled without."""

_ADDED: Mapping[type, Mapping[str, Any]] = {
    Ledger: {"request": None, "answers": [], "deleted": []},
    ServedKey: {"compromised": False},
}
"""Fields that came later: a document without them is one that has none of that."""

_MOST = 2**53
"""The largest whole number that every reader of JSON takes for the same."""

_AS_THEY_ARE = frozenset({str, int, float, bool})
"""Types whose values JSON has too."""


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
    _check_schema(document, SCHEMA)
    ledger = _decoder(Ledger, "ledger")(document)
    assert isinstance(ledger, Ledger)
    claim = ledger.pending
    if claim is not None and getattr(claim, _ABOUT[claim.kind]) is None:
        raise Undecodable(f"ledger.pending.{_ABOUT[claim.kind]} is missing in a {claim.kind}")
    return ledger


def encode_document(value: Any, schema: int) -> dict[str, Any]:
    """Return a frozen value as a JSON object of some schema, which stands beside its fields."""
    return {"schema": schema, **_encode(value)}


def decode_document(kind: type[T], document: Mapping[str, Any], schema: int) -> T:
    """Return the frozen value of a type that a JSON object of some schema holds.

    Raises:
        Undecodable: it is of a newer schema, or not understood whole.
    """
    _check_schema(document, schema)
    fields_of_it = {name: each for name, each in document.items() if name != "schema"}
    annotation: Any = kind
    value = _decoder(annotation, kind.__name__.lower())(fields_of_it)
    assert isinstance(value, kind)
    return value


def _check_schema(document: Mapping[str, Any], known: int) -> None:
    """Refuse a document of another schema."""
    schema = document.get("schema")
    if isinstance(schema, int) and schema > known:
        raise Undecodable(f"schema {schema} is newer than {known}", newer=True)
    if schema != known:
        raise Undecodable("no known schema")


def _encode(value: Any) -> Any:
    """Encode one value by its run-time type."""
    if value is None or type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, tuple):
        return [_encode(each) for each in value]
    kind: Any = type(value)
    return {name: _encode(getattr(value, name)) for name in _hints(kind)}


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Return a dataclass's fields, with the types that they are annotated with, in their order."""
    hints = typing.get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}


Decoder = Callable[[Any], Any]
"""Returns what a JSON value holds, or raises `Undecodable` with the place that it stands at."""


@cache
def _decoder(kind: Any, place: str) -> Decoder:
    """Return the decoder of what is annotated as `kind` and stands at a place.

    A ledger is decoded at every observation: what its types ask for is looked up once.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _optional(_decoder(next(each for each in inner if each is not type(None)), place))
    if origin is Literal:
        return _one_of(inner, place)
    if origin is tuple:
        return _many(_decoder(inner[0], f"{place}[]"), place)
    if is_dataclass(kind):
        return _object(kind, place)
    return _scalar(kind, place)


def _optional(decode: Decoder) -> Decoder:
    """Decode null, or what another decoder takes."""
    return lambda value: None if value is None else decode(value)


def _one_of(values: tuple[Any, ...], place: str) -> Decoder:
    """Decode one of a few values."""

    def decoded(value: Any) -> Any:
        if value in values:
            return value
        raise _odd(place)

    return decoded


def _many(decode: Decoder, place: str) -> Decoder:
    """Decode a JSON array as a tuple."""

    def decoded(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(map(decode, value))
        raise _odd(place)

    return decoded


def _object(kind: Any, place: str) -> Decoder:
    """Decode a JSON object as a dataclass with exactly its fields."""
    decoders = {name: _decoder(inner, f"{place}.{name}") for name, inner in _hints(kind).items()}
    names, added = decoders.keys(), _ADDED.get(kind, {})

    def decoded(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _odd(place)
        value = {**added, **value}
        if names != value.keys():
            odd = sorted(names ^ value.keys())
            raise Undecodable(f"{place} lacks or adds: {', '.join(map(str, odd))[:200]}")
        return kind(**{name: decode(value[name]) for name, decode in decoders.items()})

    return decoded


def _odd(place: str) -> Undecodable:
    """Return the error of a value of another shape."""
    return Undecodable(f"{place} is not what it should be")


def _scalar(kind: type, place: str) -> Decoder:
    """Decode a JSON scalar; what no plan could reckon with is refused like what is malformed."""
    decode = kind if issubclass(kind, Enum) else _PLAIN[kind]

    def decoded(value: Any) -> Any:
        try:
            found = decode(value)
        except (ValueError, OverflowError):
            found = None
        if found is None:
            raise Undecodable(f"{place} is not a {kind.__name__}")
        return found

    return decoded


def _instant(value: Any) -> datetime | None:
    """Return the believable instant that a text names."""
    instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    if instant is None or instant.tzinfo is None or not is_believable(instant):
        return None
    return instant.astimezone(UTC)


def _duration(value: Any) -> timedelta | None:
    """Return the duration of as many seconds."""
    duration = timedelta(seconds=value) if _is_number(value) else None
    return duration if duration is not None and timedelta() <= duration <= LONGEST else None


def _number(value: Any) -> float | None:
    """Return a finite number."""
    return float(value) if _is_number(value) and isfinite(value) else None


def _whole(value: Any) -> int | None:
    """Return a whole number that can be a count or a version."""
    return value if type(value) is int and 0 <= value <= _MOST else None


def _is_number(value: Any) -> bool:
    """Tell whether a JSON value is a number (JSON booleans are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


_PLAIN: dict[type, Decoder] = {
    datetime: _instant,
    timedelta: _duration,
    float: _number,
    int: _whole,
    str: lambda value: value if type(value) is str else None,
    bool: lambda value: value if type(value) is bool else None,
}
"""By type, what makes a value of it from a JSON scalar, or None where that is not one."""
