"""The search for secrets finds what it searches for."""

from __future__ import annotations

import base64
import hashlib
import secrets
from pathlib import Path

import pytest

from tests.chaos.promises import found_in

SECRET = "sk-or-v1-" + secrets.token_hex(32)


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"a line\nwith {SECRET[30:42]}, a part of it\n",
        base64.b64encode(SECRET.encode()).decode(),
    ],
    ids=["the whole", "twelve characters", "in base64"],
)
def test_a_secret_in_any_file_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "log").write_bytes(b"\0\xff\n" + text.encode() + b"\n")
    assert found_in(tmp_path, [SECRET]) == [f"a secret in {tmp_path / 'below' / 'log'}: 1 lines"]


def test_what_only_names_a_secret_is_not_taken_for_it(tmp_path: Path) -> None:
    named = hashlib.sha256(SECRET.encode()).hexdigest()
    (tmp_path / "log").write_text(f"{named} sk-or-v1- {SECRET[30:41]}\n", encoding="utf-8")
    assert found_in(tmp_path, [SECRET]) == []


def test_a_search_that_cannot_be_made_is_a_problem(tmp_path: Path) -> None:
    (problem,) = found_in(tmp_path / "nowhere", [SECRET])
    assert problem.startswith("the search failed")
