"""The two types that hold plaintext give it up to nobody who does not ask by name."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable

import pytest

from rotator.secret import Secret, SecretFields

PLAIN = "sk-or-v1-CANARY0123456789"
HOLDERS = [Secret(PLAIN), SecretFields({"KEY": PLAIN, "url": "x"})]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    "printed",
    [repr, str, "{}".format, "{!r:>40}".format, "%s".__mod__, lambda each: f"{each:>30}", ascii],
)
def test_it_prints_as_a_mask(holder: object, printed: Callable[[object], str]) -> None:
    assert "***" in printed(holder)
    assert "CANARY" not in printed(holder)


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    "asked", [lambda each: each == "x", hash, pickle.dumps, copy.copy, copy.deepcopy]
)
def test_it_is_neither_compared_nor_hashed_nor_copied(
    holder: object, asked: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError) as refusal:
        asked(holder)
    assert "CANARY" not in str(refusal.value)


def test_a_digest_is_the_sha_256_of_the_text_in_utf_8() -> None:
    assert Secret("ключ").sha256() == hashlib.sha256("ключ".encode()).hexdigest()


def test_a_lone_surrogate_has_a_digest_too() -> None:
    assert len(Secret("\ud800").sha256()) == 64


def test_a_field_is_changed_in_a_copy_and_all_others_stay() -> None:
    before = SecretFields({"KEY": "old", "url": "x", "n": 1, "none": None})
    after = before.with_text("KEY", Secret("new"))
    assert after.reveal() == {"KEY": "new", "url": "x", "n": 1, "none": None}
    assert before.reveal()["KEY"] == "old"
    assert not before.same_as(after)


def test_a_field_that_is_no_text_is_there_and_yet_no_secret() -> None:
    fields = SecretFields({"n": 1, "none": None})
    assert fields.text("n") is None
    assert fields.has("n")
    assert not fields.has("none")
    assert not fields.has("absent")
