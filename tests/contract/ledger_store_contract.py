"""What every `LedgerStore` does, whether it is a real Vault, a simulated one or a dictionary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC
from typing import Any, Protocol

import pytest

from rotator.errors import CheckAndSetConflict, OutcomeUnknown
from rotator.ports import LedgerStore, Written
from tests.contract.secret_store_contract import race

DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "audit_head": "0" * 64,
    "pending": {"kind": "rotate", "started_at": "2026-03-04T12:00:00Z", "base_version": 3},
    "retiring": [{"hash": "a" * 64, "usage": 12.25}, {"hash": "b" * 64, "usage": None}],
    "hold": None,
    "why": "Zürich, 東京",
}


class LedgerBench(Protocol):
    """A store, and the hands beside it."""

    @property
    def store(self) -> LedgerStore:
        """The store under test."""
        ...

    def name(self) -> str:
        """A name such as ``targets/billing-api`` that was never written; a new one at each call."""
        ...

    def delete(self, name: str) -> None:
        """Delete the current version, as a person would."""
        ...

    def forget(self, name: str) -> None:
        """Remove the document with all its versions, so that numbers start at 1 again."""
        ...

    def lose_next_answer(self) -> None:
        """Let the next write take effect and its answer get lost."""
        ...

    def lose_next_request(self) -> None:
        """Let the next write get lost on its way, so that the caller cannot know."""
        ...


class LedgerStoreContract:
    """Subclass as ``Test…`` and provide the fixture ``bench``."""

    @pytest.fixture
    def bench(self) -> Iterator[LedgerBench]:
        raise NotImplementedError

    def test_a_document_that_never_was_has_version_zero(self, bench: LedgerBench) -> None:
        record = bench.store.read(bench.name())
        assert (record.version, record.created_time, record.document) == (0, None, None)
        assert record.vault_time.tzinfo is UTC

    def test_what_is_written_is_read_back_whole(self, bench: LedgerBench) -> None:
        name = bench.name()
        written = bench.store.write(name, DOCUMENT, cas=0)
        record = bench.store.read(name)
        assert record.document == DOCUMENT
        assert (written.version, record.version) == (1, 1)
        assert written.created_time == record.created_time

    def test_the_callers_document_may_change_afterwards(self, bench: LedgerBench) -> None:
        name = bench.name()
        document: dict[str, Any] = {"list": [1]}
        bench.store.write(name, document, cas=0)
        document["list"].append(2)
        assert bench.store.read(name).document == {"list": [1]}

    def test_an_empty_document_is_a_document(self, bench: LedgerBench) -> None:
        name = bench.name()
        bench.store.write(name, {}, cas=0)
        assert bench.store.read(name).document == {}

    @pytest.mark.parametrize("cas", [0, 2])
    def test_a_write_based_on_another_version_is_a_conflict_and_changes_nothing(
        self, bench: LedgerBench, cas: int
    ) -> None:
        name = bench.name()
        bench.store.write(name, {"n": 1}, cas=0)
        with pytest.raises(CheckAndSetConflict):
            bench.store.write(name, {"n": 2}, cas=cas)
        record = bench.store.read(name)
        assert (record.version, record.document) == (1, {"n": 1})

    def test_a_deleted_document_keeps_its_number(self, bench: LedgerBench) -> None:
        name = bench.name()
        bench.store.write(name, DOCUMENT, cas=0)
        bench.delete(name)
        record = bench.store.read(name)
        assert (record.version, record.document) == (1, None)
        with pytest.raises(CheckAndSetConflict):
            bench.store.write(name, DOCUMENT, cas=0)
        assert bench.store.write(name, DOCUMENT, cas=1).version == 2

    def test_a_lost_document_starts_at_one_again(self, bench: LedgerBench) -> None:
        name = bench.name()
        before = bench.store.write(name, DOCUMENT, cas=0)
        bench.forget(name)
        assert bench.store.read(name).version == 0
        after = bench.store.write(name, DOCUMENT, cas=0)
        assert (before.version, after.version) == (1, 1)
        assert before.created_time < after.created_time

    def test_of_claims_at_the_same_version_exactly_one_wins(self, bench: LedgerBench) -> None:
        name = bench.name()
        results = race(lambda number: bench.store.write(name, {"holder": number}, cas=0), 8)
        assert Counter(type(result) for result in results) == {Written: 1, CheckAndSetConflict: 7}
        winner = next(n for n, result in enumerate(results) if isinstance(result, Written))
        assert bench.store.read(name).document == {"holder": winner}

    def test_a_write_whose_answer_was_lost_is_settled_as_done(self, bench: LedgerBench) -> None:
        name = bench.name()
        bench.lose_next_answer()
        written = bench.store.write(name, DOCUMENT, cas=0)
        record = bench.store.read(name)
        assert written.version == record.version == 1
        assert written.created_time == record.created_time

    def test_a_write_that_may_yet_arrive_is_unknown(self, bench: LedgerBench) -> None:
        name = bench.name()
        bench.lose_next_request()
        with pytest.raises(OutcomeUnknown):
            bench.store.write(name, DOCUMENT, cas=0)
        assert bench.store.read(name).version == 0
