"""The catalogue, its JSON Schema, its documentation and the verification say the same."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.adapters.audit.line import Place, encode, parse
from rotator.adapters.audit.schema import render, schema
from rotator.adapters.audit.shape import shapes
from rotator.events import CATALOGUE, Event, Phase, Result
from tests.adapters.audit.samples import SAMPLES, START, judge

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "audit.md").read_text(encoding="utf-8")
EXAMPLES = "".join(re.findall(r"^```jsonl\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))

VALIDATOR = jsonschema.Draft202012Validator(schema())


def line(event: Event) -> bytes:
    return encode(event, Place("4be1c0de", 1, "0" * 64), at=START, instance="prod")


def record(event: Event) -> dict[str, Any]:
    found = parse(line(event))
    assert found is not None
    return found


def admitted(document: dict[str, Any]) -> bool:
    """The verification's opinion of a line."""
    shape = shapes().get(document["event"])
    return shape is not None and shape.complaint(document) is None


def test_the_samples_show_every_event_of_the_catalogue() -> None:
    assert tuple(type(each) for each in SAMPLES) == CATALOGUE


def test_the_schema_in_the_documentation_is_the_derived_one() -> None:
    written = (DOCS / "audit-event.schema.json").read_text(encoding="utf-8")
    assert written == render(), (
        "run: python -m rotator.adapters.audit.schema > docs/audit-event.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("event", SAMPLES, ids=lambda each: each.name)
def test_every_event_in_every_phase_and_result_satisfies_schema_and_verification(
    event: Event,
) -> None:
    documents = [record(event)]
    documents += [record(replace(event, phase=Phase.OUTCOME, result=each)) for each in Result]
    for document in documents:
        VALIDATOR.validate(document)
        assert admitted(document)


def test_every_field_and_event_says_what_it_means() -> None:
    for name, definition in schema()["$defs"].items():
        assert definition["description"], name
        for field, described in definition["properties"].items():
            assert described["description"], (name, field)
            assert not re.search(r"\bNone\b", described["description"])


FIELDS = sorted({field for shape in shapes().values() for field in shape.fields})
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "x", "intent", "outcome", "done", "0" * 64, "2026-08-24T03:00:00.000000Z"]
    ),
    st.sampled_from([shape for shape in shapes()]),  # noqa: C416 - the names alone
)


@given(
    event=st.sampled_from(SAMPLES),
    changes=st.dictionaries(st.sampled_from([*FIELDS, "more"]), VALUES, max_size=3),
    dropped=st.sets(st.sampled_from(FIELDS), max_size=1),
)
def test_schema_and_verification_agree_on_every_line(
    event: Event, changes: dict[str, Any], dropped: set[str]
) -> None:
    document = {k: v for k, v in {**record(event), **changes}.items() if k not in dropped}
    if parse(json.dumps(document).encode()) is None:
        return  # no line of a trail at all
    # JSON Schema takes 1.0 for an integer; this program does not write it.
    if any(isinstance(value, float) and value.is_integer() for value in changes.values()):
        return
    assert admitted(document) == VALIDATOR.is_valid(document)


def test_the_page_explains_every_event_and_every_result() -> None:
    for event in CATALOGUE:
        assert f"### `{event.name}`" in PAGE
    for result in Result:
        assert f"`{result}`" in PAGE


def test_the_examples_of_the_page_are_one_trail_that_verifies() -> None:
    report = judge(EXAMPLES.encode())
    assert report.problems == ()
    assert [tear.sealed for tear in report.tears] == [True]
    whole = [found for text in EXAMPLES.splitlines() if (found := parse(text.encode())) is not None]
    assert {each["event"] for each in whole} == {event.name for event in CATALOGUE}
    for each in whole:
        VALIDATOR.validate(each)


def test_the_page_shows_the_fields_of_each_event_as_they_are_written() -> None:
    """An example that was not renewed after a change of the catalogue is noticed."""
    shown = {
        parsed["event"]: parsed
        for text in EXAMPLES.splitlines()
        if (parsed := parse(text.encode()))
    }
    for name, shape in shapes().items():
        assert list(shown[name]) == list(shape.fields)
