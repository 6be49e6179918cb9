"""Problems of a configuration: where each is, what is wrong, and what would be right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rotator.config.locate import Path, line_of
from rotator.config.text import closest
from rotator.redaction import redact_bytes

_BARE = re.compile(r"[A-Za-z0-9_-]+")

METHODS = '"token", "approle", "kubernetes", "jwt" and "cert"'

NOT_YET = "is not in this release"

_MESSAGES = {
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "tuple_type": "must be an array, in square brackets",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "missing": "is required",
    "union_tag_not_found": 'is required with a method, as in { method = "approle", ... }',
}

_EXAMPLES = {
    "instance": 'instance = "prod"',
    "management_key": 'management_key = { file = "/run/secrets/management-key" }',
    "address": 'address = "https://vault.example.com:8200"',
    "auth": 'auth = { method = "token", token = { file = "/run/secrets/vault-token" } }',
    "state": 'state = "rotator/prod"',
    "token": 'token = { file = "/run/secrets/vault-token" }',
    "role_id": 'role_id = "7d1c..."',
    "secret_id": 'secret_id = { file = "/run/secrets/secret-id" }',
    "jwt": 'jwt = { file = "/run/secrets/jwt" }',
    "role": 'role = "rotator"',
    "name": 'name = "billing-api"',
    "secret": 'secret = "secret/apps/billing"',
}

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: the key's place in the document.
        message: what is wrong and what would be right; holds no secret.
    """

    path: Path
    message: str


def say(problems: Sequence[Problem], lines: Mapping[Path, int], file: str) -> tuple[str, ...]:
    """Return one line for each problem, ``FILE:LINE: KEY: MESSAGE``, in the file's order."""
    placed = [(line_of(lines, problem.path), problem) for problem in problems]
    placed.sort(key=lambda pair: (pair[0] or 0, [str(part) for part in pair[1].path]))
    told = (
        f"{file}{f':{line}' if line else ''}: {place(problem.path)}: {problem.message}"
        for line, problem in placed
    )
    # No message repeats a value that may be a secret; a key of the file might still be one.
    return tuple(dict.fromkeys(redact_bytes(line.encode()).decode() for line in told))


def place(path: Path) -> str:
    """Return a path as text, such as ``target[2].key.limit``; arrays count from 0."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = part if _BARE.fullmatch(part) else json.dumps(part)
            text += f".{quoted}" if text else quoted
    return text


def required(path: Path) -> Problem:
    """Return the problem of a key that is missing, with an example of it."""
    example = _EXAMPLES.get(str(path[-1]))
    return Problem(path, "is required" + (f", as in {example}" if example else ""))


def unknown(path: Path, known: Iterable[str]) -> Problem:
    """Return the problem of a key that is not one of those known at its place."""
    known = sorted(known)
    question = closest(str(path[-1]), known) or f"known here: {', '.join(known)}"
    return Problem(path, f"unknown key; {question}")


def validate(
    model: type[Model],
    value: object,
    path: Path,
    problems: list[Problem],
    *,
    spare_bad_values: bool = False,
) -> Model | None:
    """Return a table as its model, or None where it is none; add its problems to the list.

    A table in which only some keys are unknown is still returned, without them, so that
    the checks that follow find what else is wrong. With `spare_bad_values` the same goes
    for keys whose value is refused, which is right where no other key's check depends on
    them.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    problems.extend(_problem(each, model, path) for each in details)
    if not spare_bad_values and any(each["type"] != "extra_forbidden" for each in details):
        return None
    rest = value
    for each in details:
        rest = _without(rest, _without_tags(each["loc"]))
    try:
        return model.model_validate(rest)
    except ValidationError:
        return None


def nested(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation mentions, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from nested(argument)


def _problem(details: ErrorDetails, model: type[BaseModel], path: Path) -> Problem:
    location = _without_tags(details["loc"])
    full = (*path, *location)
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return required(full)
    if kind == "extra_forbidden":
        if full[-1] == "guardrail":
            return Problem(
                full,
                f"{NOT_YET}, and a new key would be made without its guardrail: "
                "take this target out of the file, or its guardrail off",
            )
        return unknown(full, _keys_at(model, location[:-1]))
    if kind == "union_tag_invalid":
        return Problem(full, f"has an unknown method: use one of {METHODS}")
    if kind == "value_error":
        message = str(context["error"])
    elif kind == "literal_error":
        message = f"must be {context['expected']}".replace("'", '"')
    elif kind == "greater_than_equal":
        message = f"must be at least {context['ge']}"
    elif kind == "too_long":
        message = f"must have at most {context['max_length']} entries"
    elif kind == "less_than_equal":
        message = f"must be at most {context['le']}"
    else:
        message = _MESSAGES.get(kind, details["msg"])
    return Problem(full, message)


def _without_tags(location: tuple[str | int, ...]) -> Path:
    """Return a place without the names of alternatives, which are no keys of the document."""
    if location[:1] == ("auth",) and len(location) > 1:
        location = ("auth", *location[2:])
    if location[:2] == ("auth", "role_id"):
        location = ("auth", "role_id", *location[3:])
    return location


def _without(value: object, location: Path) -> object:
    """Return a copy of a table without the key at a place, or without what stands around it."""
    if isinstance(value, dict) and location and location[0] in value:
        key = location[0]
        inner = value[key]
        rest = {name: each for name, each in value.items() if name != key}
        if len(location) > 1 and isinstance(inner, dict):
            rest[key] = _without(inner, location[1:])
        return rest
    return value


def _keys_at(model: type[BaseModel], location: Path) -> set[str]:
    """Return the keys that are known at a place inside a model."""
    models = [model]
    for part in location:
        if isinstance(part, str):
            fields = [each.model_fields[part] for each in models if part in each.model_fields]
            models = [found for field in fields for found in nested(field.annotation)]
    return {key for each in models for key in each.model_fields}
