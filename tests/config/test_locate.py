"""The locator: every key and element of a document is found on its line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from rotator.config.locate import Path, line_of, locate

DOCUMENT = '''\
# [not.a.table]
instance = "prod" # = [[no]]
"quoted.key" = 1

[openrouter]
management_key = { file = "/a#b", 'x y' = "}" }
a.b.c = 1
text = """
[fake]
key = "\\"""
"""
literal = \'\'\'
[[target]]
\'\'\'

[policy."Fast One".drain]
then = "keep"

[[target]]
name = 'a]'
windows = [
  "mon 09:00-10:00", # ]
  "tue 09:00-10:00",
]
  [target.key]
  limit = 1_000.5

[[target]]
name = "b"
key.limit = 2
dates = [1979-05-27T07:32:00Z, 1979-05-27]
'''


def test_every_kind_of_place_is_found() -> None:
    tomllib.loads(DOCUMENT)  # or the test would prove nothing
    expected: dict[Path, int] = {
        ("instance",): 2,
        ("quoted.key",): 3,
        ("openrouter",): 5,
        ("openrouter", "management_key"): 6,
        ("openrouter", "management_key", "file"): 6,
        ("openrouter", "management_key", "x y"): 6,
        ("openrouter", "a"): 7,
        ("openrouter", "a", "b"): 7,
        ("openrouter", "a", "b", "c"): 7,
        ("openrouter", "text"): 8,
        ("openrouter", "literal"): 12,
        ("policy",): 16,
        ("policy", "Fast One"): 16,
        ("policy", "Fast One", "drain"): 16,
        ("policy", "Fast One", "drain", "then"): 17,
        ("target",): 19,
        ("target", 0): 19,
        ("target", 0, "name"): 20,
        ("target", 0, "windows"): 21,
        ("target", 0, "windows", 0): 22,
        ("target", 0, "windows", 1): 23,
        ("target", 0, "key"): 25,
        ("target", 0, "key", "limit"): 26,
        ("target", 1): 28,
        ("target", 1, "name"): 29,
        ("target", 1, "key"): 30,
        ("target", 1, "key", "limit"): 30,
        ("target", 1, "dates"): 31,
        ("target", 1, "dates", 0): 31,
        ("target", 1, "dates", 1): 31,
    }
    assert locate(DOCUMENT) == expected
    assert locate(DOCUMENT.replace("\n", "\r\n")) == expected


def test_what_is_missing_is_told_by_what_stands_around_it() -> None:
    lines = locate(DOCUMENT)
    assert line_of(lines, ("target", 1, "key", "expires_in")) == 30
    assert line_of(lines, ("vault", "address")) is None


KEYS = st.text(alphabet="ab.- \"'\\#é", min_size=1, max_size=4)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-9, 9),
    st.text(alphabet="a\"'\\[]{}#=,\n\té", max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(
    KEYS,
    VALUES | st.lists(st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=3),
    max_size=4,
)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def written(value: object) -> str:
    """A value as TOML on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{quoted(key)} = {written(each)}' for key, each in value.items())}}}"
    return str(value)


def places(value: object, path: Path) -> Iterator[Path]:
    """Every place in a value, its own included."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


@given(DOCUMENTS, st.booleans())
def test_any_document_is_followed_to_its_end(document: dict[str, object], tables: bool) -> None:
    lines: list[str] = []
    expected: dict[Path, int] = {}

    def write(key: str, value: object, path: Path) -> None:
        lines.append(f"{quoted(key)} = {written(value)}")
        for place in places(value, (*path, key)):
            expected.setdefault(place, len(lines))

    arrays: dict[str, list[dict[str, object]]] = {}
    for key, value in document.items():
        if tables and isinstance(value, list) and value and all(isinstance(e, dict) for e in value):
            arrays[key] = value
        else:
            write(key, value, ())
    for key, elements in arrays.items():
        for index, element in enumerate(elements):
            lines.append(f"[[{quoted(key)}]] # \" ' [")
            expected.setdefault((key,), len(lines))
            expected[key, index] = len(lines)
            for inner, value in element.items():
                write(inner, value, (key, index))
    text = "\n".join(lines)
    assert tomllib.loads(text) == document
    assert locate(text) == expected


@given(st.text(alphabet="ab[]{}=\"'\\#.,\n ", max_size=40))
def test_a_document_that_is_no_toml_is_never_an_error_of_the_locator(text: str) -> None:
    assert all(1 <= line <= text.count("\n") + 1 for line in locate(text).values())
