"""What every `SecretStore` does, whether it is a real Vault, a simulated one or a dictionary."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from typing import Any, Protocol

import pytest

from rotator.errors import CheckAndSetConflict, OutcomeUnknown
from rotator.ports import SecretStore, Written
from rotator.secret import SecretFields

CANARY = "sk-or-v1-CANARYinTheContractCANARY"
FIELDS: dict[str, Any] = {
    "OPENROUTER_API_KEY": CANARY,
    "empty": "",
    "unicode": "ключ-鍵-🔑\n\t\"'<&>",
    "number": 2**53,  # Vault keeps numbers as 64-bit floats
    "share": 0.5,
    "flag": True,
    "nothing": None,
    "nested": {"list": [1, "two", {"three": [False]}]},
}


class SecretBench(Protocol):
    """A store, and the hands beside it."""

    @property
    def store(self) -> SecretStore:
        """The store under test."""
        ...

    def path(self) -> str:
        """A path that nothing was ever written to; a new one at each call."""
        ...

    def delete(self, path: str) -> None:
        """Delete the current version, as a person would: it can be undeleted."""
        ...

    def destroy(self, path: str, version: int) -> None:
        """Destroy one version for good; its number stays taken."""
        ...

    def forget(self, path: str) -> None:
        """Remove the secret with all its versions, so that numbers start at 1 again."""
        ...

    def lose_next_answer(self) -> None:
        """Let the next write take effect and its answer get lost."""
        ...

    def lose_next_request(self) -> None:
        """Let the next write get lost on its way, so that the caller cannot know."""
        ...


class SecretStoreContract:
    """Subclass as ``Test…`` and provide the fixture ``bench``."""

    @pytest.fixture
    def bench(self) -> Iterator[SecretBench]:
        raise NotImplementedError

    def test_a_secret_that_never_was_has_version_zero(self, bench: SecretBench) -> None:
        path = bench.path()
        read, metadata = bench.store.read(path), bench.store.metadata(path)
        assert (read.version, read.created_time, read.fields) == (0, None, None)
        assert (metadata.version, metadata.created_time, metadata.live) == (0, None, False)

    def test_what_is_written_is_read_back_whole(self, bench: SecretBench) -> None:
        path = bench.path()
        written = bench.store.write(path, SecretFields(FIELDS), cas=0)
        read = bench.store.read(path)
        assert (written.version, read.version) == (1, 1)
        assert read.fields is not None
        assert read.fields.same_as(SecretFields(FIELDS))

    def test_a_write_a_read_and_the_metadata_agree_on_the_time(self, bench: SecretBench) -> None:
        path = bench.path()
        written = bench.store.write(path, SecretFields(FIELDS), cas=0)
        read, metadata = bench.store.read(path), bench.store.metadata(path)
        assert written.created_time == read.created_time == metadata.created_time
        assert metadata.version == 1
        assert metadata.live

    def test_instants_are_in_utc_and_vault_time_has_whole_seconds(self, bench: SecretBench) -> None:
        path = bench.path()
        before = bench.store.read(path).vault_time
        written = bench.store.write(path, SecretFields(FIELDS), cas=0)
        after = bench.store.metadata(path).vault_time
        for instant in (before, written.vault_time, after):
            assert instant.tzinfo is UTC
            assert instant.microsecond == 0
        assert written.created_time.utcoffset() == timedelta(0)
        assert before <= written.created_time < after + timedelta(seconds=1)

    def test_a_write_replaces_all_fields(self, bench: SecretBench) -> None:
        path = bench.path()
        bench.store.write(path, SecretFields({"a": "1", "b": "2"}), cas=0)
        assert bench.store.write(path, SecretFields({"a": "3"}), cas=1).version == 2
        fields = bench.store.read(path).fields
        assert fields is not None
        assert fields.reveal() == {"a": "3"}

    @pytest.mark.parametrize("cas", [0, 1, 3, 99])
    def test_a_write_based_on_another_version_is_a_conflict_and_changes_nothing(
        self, bench: SecretBench, cas: int
    ) -> None:
        path = bench.path()
        bench.store.write(path, SecretFields({"a": "1"}), cas=0)
        bench.store.write(path, SecretFields({"a": "2"}), cas=1)
        with pytest.raises(CheckAndSetConflict):
            bench.store.write(path, SecretFields({"a": "mine"}), cas=cas)
        read = bench.store.read(path)
        assert read.version == 2
        assert read.fields is not None
        assert read.fields.reveal() == {"a": "2"}

    def test_a_first_write_needs_cas_zero(self, bench: SecretBench) -> None:
        path = bench.path()
        with pytest.raises(CheckAndSetConflict):
            bench.store.write(path, SecretFields({"a": "1"}), cas=1)
        assert bench.store.read(path).version == 0

    def test_an_earlier_version_can_still_be_read(self, bench: SecretBench) -> None:
        path = bench.path()
        first = bench.store.write(path, SecretFields({"a": "1"}), cas=0)
        bench.store.write(path, SecretFields({"a": "2"}), cas=1)
        read = bench.store.read(path, version=1)
        assert (read.version, read.created_time) == (1, first.created_time)
        assert read.fields is not None
        assert read.fields.reveal() == {"a": "1"}

    def test_a_version_that_never_was_is_number_zero_without_a_value(
        self, bench: SecretBench
    ) -> None:
        path = bench.path()
        bench.store.write(path, SecretFields({"a": "1"}), cas=0)
        read = bench.store.read(path, version=7)
        assert (read.version, read.created_time, read.fields) == (0, None, None)

    def test_a_deleted_version_keeps_its_number_and_time_but_is_not_live(
        self, bench: SecretBench
    ) -> None:
        path = bench.path()
        written = bench.store.write(path, SecretFields({"a": "1"}), cas=0)
        bench.delete(path)
        read, metadata = bench.store.read(path), bench.store.metadata(path)
        assert (read.version, read.created_time, read.fields) == (1, written.created_time, None)
        assert (metadata.version, metadata.created_time) == (1, written.created_time)
        assert not metadata.live

    def test_a_deleted_secret_is_written_again_on_top_of_its_number(
        self, bench: SecretBench
    ) -> None:
        path = bench.path()
        bench.store.write(path, SecretFields({"a": "1"}), cas=0)
        bench.delete(path)
        with pytest.raises(CheckAndSetConflict):
            bench.store.write(path, SecretFields({"a": "2"}), cas=0)
        assert bench.store.write(path, SecretFields({"a": "2"}), cas=1).version == 2
        assert bench.store.metadata(path).live

    def test_a_destroyed_version_is_not_live_and_its_number_stays_taken(
        self, bench: SecretBench
    ) -> None:
        path = bench.path()
        bench.store.write(path, SecretFields({"a": "1"}), cas=0)
        bench.destroy(path, 1)
        read, metadata = bench.store.read(path), bench.store.metadata(path)
        assert (read.version, read.fields) == (1, None)
        assert (metadata.version, metadata.live) == (1, False)
        assert bench.store.write(path, SecretFields({"a": "2"}), cas=1).version == 2

    def test_a_secret_made_anew_repeats_numbers_but_not_its_time(self, bench: SecretBench) -> None:
        path = bench.path()
        before = bench.store.write(path, SecretFields({"a": "1"}), cas=0)
        bench.forget(path)
        assert bench.store.metadata(path).version == 0
        after = bench.store.write(path, SecretFields({"a": "2"}), cas=0)
        assert (before.version, after.version) == (1, 1)
        assert before.created_time < after.created_time

    def test_of_writers_at_the_same_version_exactly_one_wins(self, bench: SecretBench) -> None:
        path = bench.path()
        results = race(
            lambda number: bench.store.write(path, SecretFields({"a": str(number)}), cas=0), 8
        )
        kinds = Counter(type(result) for result in results)
        assert kinds == {Written: 1, CheckAndSetConflict: 7}
        winner = next(n for n, result in enumerate(results) if isinstance(result, Written))
        fields = bench.store.read(path).fields
        assert fields is not None
        assert fields.reveal() == {"a": str(winner)}

    def test_a_write_whose_answer_was_lost_is_settled_as_done(self, bench: SecretBench) -> None:
        path = bench.path()
        bench.store.write(path, SecretFields({"a": "1"}), cas=0)
        bench.lose_next_answer()
        written = bench.store.write(path, SecretFields({"a": "2"}), cas=1)
        read = bench.store.read(path)
        assert written.version == read.version == 2
        assert written.created_time == read.created_time

    def test_a_write_that_may_yet_arrive_is_unknown(self, bench: SecretBench) -> None:
        path = bench.path()
        bench.store.write(path, SecretFields({"a": "1"}), cas=0)
        bench.lose_next_request()
        with pytest.raises(OutcomeUnknown):
            bench.store.write(path, SecretFields({"a": "2"}), cas=1)
        assert bench.store.read(path).version == 1

    def test_neither_results_nor_errors_print_a_value(self, bench: SecretBench) -> None:
        path = bench.path()
        written = bench.store.write(path, SecretFields(FIELDS), cas=0)
        printed = [repr(written), repr(bench.store.read(path)), repr(bench.store.metadata(path))]
        with pytest.raises(CheckAndSetConflict) as conflict:
            bench.store.write(path, SecretFields(FIELDS), cas=0)
        printed.append(repr(conflict.value) + str(conflict.value) + repr(vars(conflict.value)))
        assert not [text for text in printed if "CANARY" in text]


def race(act: Callable[[int], object], threads: int) -> list[object]:
    """What each of some threads got, started together: a result or an error."""
    results: list[object] = [None] * threads
    together = threading.Barrier(threads)

    def run(number: int) -> None:
        together.wait()
        try:
            results[number] = act(number)
        except Exception as error:  # noqa: BLE001 - the result of this thread
            results[number] = error

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return results
