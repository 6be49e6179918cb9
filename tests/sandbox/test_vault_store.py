"""The KV engines behind the simulated Vault, without HTTP."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from rotator.sandbox.vault_store import (
    CAS_MISMATCH,
    CAS_REQUIRED,
    DeletedError,
    VaultError,
    VaultStore,
)
from rotator.sandbox.vault_tokens import VaultTokens
from tests.sandbox.conftest import StillClock


@pytest.fixture
def store(clock: StillClock) -> VaultStore:
    return VaultStore(now=clock, mounts=("secret", "team/kv"))


def refusal(act: Callable[[], object]) -> tuple[int, list[str]]:
    with pytest.raises(VaultError) as caught:
        act()
    return caught.value.status, caught.value.errors


def test_a_write_by_check_and_set_needs_the_current_version(store: VaultStore) -> None:
    assert refusal(lambda: store.write("secret", "a", {}, cas=1)) == (400, [CAS_MISMATCH])
    assert store.write("secret", "a", {"x": "1"}, cas=0)["version"] == 1
    assert refusal(lambda: store.write("secret", "a", {}, cas=0)) == (400, [CAS_MISMATCH])
    assert store.write("secret", "a", {"x": "2"}, cas=1)["version"] == 2
    assert store.read("secret", "a")["data"] == {"x": "2"}


def test_a_soft_delete_does_not_lower_the_version_that_check_and_set_needs(
    store: VaultStore,
) -> None:
    store.write("secret", "a", {"x": "1"})
    store.delete("secret", "a")

    with pytest.raises(DeletedError) as gone:
        store.read("secret", "a")
    assert gone.value.metadata["deletion_time"]
    assert refusal(lambda: store.write("secret", "a", {}, cas=0))[0] == 400
    assert store.write("secret", "a", {"x": "2"}, cas=1)["version"] == 2


def test_a_deleted_version_comes_back_and_a_destroyed_one_does_not(store: VaultStore) -> None:
    store.write("secret", "a", {"x": "1"})
    store.delete("secret", "a", [1])
    store.undelete("secret", "a", [1])
    assert store.read("secret", "a")["data"] == {"x": "1"}

    store.delete("secret", "a", [1])
    store.destroy("secret", "a", [1])
    store.undelete("secret", "a", [1])
    with pytest.raises(DeletedError) as gone:
        store.read("secret", "a")
    assert gone.value.metadata["destroyed"] is True
    assert gone.value.metadata["deletion_time"]


def test_a_secret_that_is_made_again_repeats_its_version_but_not_its_time(
    store: VaultStore,
) -> None:
    first = store.write("secret", "a", {"x": "1"}, cas=0)
    store.delete_metadata("secret", "a")
    assert refusal(lambda: store.read("secret", "a")) == (404, [])
    again = store.write("secret", "a", {"x": "1"}, cas=0)

    assert again["version"] == first["version"] == 1
    assert again["created_time"] != first["created_time"]  # though the clock stood still


def test_only_the_last_ten_versions_are_kept_unless_the_secret_says_otherwise(
    store: VaultStore,
) -> None:
    for number in range(12):
        store.write("secret", "a", {"x": number})
    kept = store.read_metadata("secret", "a")
    assert (kept["oldest_version"], kept["current_version"], len(kept["versions"])) == (3, 12, 10)
    assert store.read("secret", "a", 3)["data"] == {"x": 2}
    assert refusal(lambda: store.read("secret", "a", 2))[0] == 404

    store.write_metadata("secret", "a", max_versions=2)
    store.write("secret", "a", {"x": 12})
    assert list(store.read_metadata("secret", "a")["versions"]) == ["12", "13"]


def test_metadata_before_the_first_version_leaves_check_and_set_at_zero(store: VaultStore) -> None:
    store.write_metadata("secret", "a", cas_required=True, custom_metadata={"k": "v"})

    assert store.read_metadata("secret", "a")["current_version"] == 0
    assert refusal(lambda: store.write("secret", "a", {})) == (400, [CAS_REQUIRED])
    assert store.write("secret", "a", {}, cas=0)["custom_metadata"] == {"k": "v"}


def test_what_was_stored_is_not_what_the_caller_still_holds(store: VaultStore) -> None:
    data = {"x": {"y": "1"}}
    store.write("secret", "a", data)
    data["x"]["y"] = "changed"
    store.read("secret", "a")["data"]["x"]["y"] = "changed"

    assert store.read("secret", "a")["data"] == {"x": {"y": "1"}}


def test_a_mount_is_found_by_its_longest_name(store: VaultStore) -> None:
    store.mount("team")
    found = {path: store.find_mount(path) for path in ("team/kv/a", "team/x/a", "nowhere/a")}

    names = {path: hit and (hit[0].path, hit[1]) for path, hit in found.items()}
    assert names == {
        "team/kv/a": ("team/kv", "a"),
        "team/x/a": ("team", "x/a"),
        "nowhere/a": None,
    }


def test_names_are_listed_with_folders(store: VaultStore) -> None:
    for path in ("a", "f/b", "f/g/c"):
        store.write("secret", path, {})

    assert store.list_names("secret", "") == ["a", "f/"]
    assert store.list_names("secret", "f") == store.list_names("secret", "f/") == ["b", "g/"]
    assert refusal(lambda: store.list_names("secret", "a")) == (404, [])


def test_no_value_stands_in_a_repr(store: VaultStore) -> None:
    store.write("secret", "a", {"x": "sk-or-v1-plaintext"})
    assert "plaintext" not in repr([vars(store), store.find_mount("secret/a")])


@pytest.fixture
def tokens(clock: StillClock) -> VaultTokens:
    return VaultTokens(now=clock, rng=random.Random(3))


def test_a_policy_allows_only_its_paths_and_capabilities(tokens: VaultTokens) -> None:
    tokens.add_policy("reader", {"secret/data/apps/+": {"read"}, "secret/metadata/*": {"list"}})
    token = tokens.add_token(("reader",))

    assert tokens.check(token, "secret/data/apps/a", "read").id == token
    assert tokens.check(token, "secret/metadata/x/y", "list").id == token
    for path, capability in (
        ("secret/data/apps/a/b", "read"),
        ("secret/data/apps/a", "update"),
        ("secret/data/other", "read"),
    ):
        status, errors = refusal(lambda p=path, c=capability: tokens.check(token, p, c))  # type: ignore[misc]
        assert (status, "permission denied" in errors[0]) == (403, True)
    assert tokens.reaches(token, "secret")
    assert not tokens.reaches(token, "team")


def test_a_token_expires_unless_it_is_renewed(tokens: VaultTokens, clock: StillClock) -> None:
    token = tokens.add_token(("reader",), ttl=timedelta(minutes=10))
    clock.advance(minutes=9)
    assert tokens.lookup(token)["ttl"] == 60
    assert tokens.renew(token)["lease_duration"] == 600
    clock.advance(minutes=9)
    assert tokens.lookup(token)["renewable"] is True
    clock.advance(minutes=1)

    assert "invalid token" in refusal(lambda: tokens.lookup(token))[1][0]


def test_an_approle_logs_in_with_both_its_ids_only(tokens: VaultTokens) -> None:
    role_id, secret_id = tokens.add_approle("rotator", ("reader",))
    auth = tokens.login(role_id, secret_id)

    assert tokens.lookup(auth["client_token"])["policies"] == ["default", "reader"]
    for pair in ((role_id, "x"), ("x", secret_id), (None, None)):
        assert refusal(lambda p=pair: tokens.login(*p)) == (400, ["invalid role or secret ID"])  # type: ignore[misc]


def test_no_token_stands_in_a_repr(tokens: VaultTokens) -> None:
    token = tokens.add_token()
    _, secret_id = tokens.add_approle("rotator", ("reader",))
    held = repr([tokens.check(token, "x", "read"), list(tokens._roles.values())])

    assert token not in held
    assert secret_id not in held


def test_of_concurrent_writers_by_check_and_set_one_wins_each_version(store: VaultStore) -> None:
    won: list[int] = []
    lost: list[list[str]] = []

    def write() -> None:
        for _ in range(200):
            current = store.read_metadata("secret", "a")["current_version"]
            try:
                won.append(store.write("secret", "a", {}, cas=current)["version"])
            except VaultError as error:
                lost.append(error.errors)

    store.write_metadata("secret", "a", max_versions=2000)
    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(won) == list(range(1, len(won) + 1))
    assert lost == [[CAS_MISMATCH]] * (1600 - len(won))
    assert store.read_metadata("secret", "a")["current_version"] == len(won)
