"""What every `KeyIssuer` does, whether it is OpenRouter's adapter or a dictionary."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from rotator.core.keys import NewKey
from rotator.errors import OutcomeUnknown, Refused, Transient, Unauthorised
from rotator.ports import KeyIssuer, MintedKey
from rotator.secret import Secret

NOBODY = "ab" * 32


class KeyIssuerBench(Protocol):
    """An issuer over an account of its own, the account's other users, and accidents."""

    @property
    def issuer(self) -> KeyIssuer:
        """The issuer under test."""
        ...

    @property
    def now(self) -> datetime:
        """The account's time (aware, UTC)."""
        ...

    def advance(self, span: timedelta) -> None:
        """Let the account's time pass."""
        ...

    def workspace(self) -> str:
        """Make a workspace beside the default one and return its id."""
        ...

    def disable_by_hand(self, key_hash: str) -> None:
        """Disable a key as a person does in the console."""
        ...

    def delete_by_hand(self, key_hash: str) -> None:
        """Delete a key as a person does in the console."""
        ...

    def use(self, key_hash: str) -> None:
        """Let a consumer use a key: its last use is now, and its spending rises."""
        ...

    def creates(self) -> int:
        """Return how many calls to create a key arrived, whatever became of them."""
        ...

    def refuse_next_create(self) -> None:
        """Let the next create be answered by a whole 403."""
        ...

    def limit_next_write(self, retry_after: int) -> None:
        """Let the next write be answered by a 429 that asks for so many seconds."""
        ...

    def lose_next_request(self) -> None:
        """Let the next write get lost on its way, so that the caller cannot know."""
        ...

    def lose_next_answer(self) -> None:
        """Let the next write take effect and its answer get lost."""
        ...

    def lose_answers(self) -> None:
        """Let every call from now on take effect and its answer get lost, until `mend`."""
        ...

    def fail_reads(self) -> None:
        """Let every read fail from now on, as in an outage, until `mend`."""
        ...

    def mend(self) -> None:
        """End what `lose_answers` and `fail_reads` began."""
        ...

    def revoke_management_key(self) -> None:
        """Delete the management key that the issuer uses."""
        ...


def new_name() -> str:
    return f"contract {uuid.uuid4()}"


def make(bench: KeyIssuerBench, workspace: str | None = None) -> MintedKey:
    return bench.issuer.create(NewKey(name=new_name(), workspace_id=workspace))


def listed(bench: KeyIssuerBench, workspace: str | None = None) -> set[str]:
    keys = bench.issuer.list_keys(workspace)
    hashes = {key.hash for key in keys}
    assert len(hashes) == len(keys), "each key once"
    return hashes


class KeyIssuerContract:
    """Subclass as ``Test…`` and provide the fixture ``bench``."""

    @pytest.fixture
    def bench(self) -> Iterator[KeyIssuerBench]:
        raise NotImplementedError

    def test_a_new_key_is_named_by_the_digest_of_its_plaintext(self, bench: KeyIssuerBench) -> None:
        minted = make(bench)
        assert minted.key.hash == minted.secret.sha256()
        assert minted.key.disabled is False

    def test_a_new_key_has_what_was_asked_for(self, bench: KeyIssuerBench) -> None:
        workspace = bench.workspace()
        expires_at = (bench.now + timedelta(days=60)).replace(microsecond=0)
        new = NewKey(
            name=new_name(),
            limit=12.5,
            limit_reset="monthly",
            include_byok_in_limit=True,
            expires_at=expires_at,
            workspace_id=workspace,
            creator_user_id="user_of_the_contract",
        )
        key = bench.issuer.create(new).key
        assert (key.name, key.limit, key.limit_remaining) == (new.name, 12.5, 12.5)
        assert (key.limit_reset, key.include_byok_in_limit) == ("monthly", True)
        assert (key.expires_at, key.workspace_id) == (expires_at, workspace)
        assert key.creator_user_id == "user_of_the_contract"
        assert key.limits_known
        assert key.created_at is not None
        assert key.created_at.tzinfo is UTC
        assert key.last_used_at is None

    def test_no_limit_is_unlimited_and_zero_is_nothing_left(self, bench: KeyIssuerBench) -> None:
        unlimited = make(bench).key
        nothing = bench.issuer.create(NewKey(name=new_name(), limit=0.0)).key
        assert (unlimited.limit, unlimited.limit_remaining, unlimited.limits_known) == (
            None,
            None,
            True,
        )
        assert (nothing.limit, nothing.limit_remaining) == (0.0, 0.0)

    def test_names_need_not_differ(self, bench: KeyIssuerBench) -> None:
        name = new_name()
        first, second = (bench.issuer.create(NewKey(name=name)).key for _ in range(2))
        assert first.hash != second.hash
        assert first.name == second.name == name

    def test_a_key_looks_the_same_wherever_it_is_seen(self, bench: KeyIssuerBench) -> None:
        made = make(bench).key
        (in_list,) = bench.issuer.list_keys(None)
        assert bench.issuer.get(made.hash) == in_list == made

    def test_use_shows(self, bench: KeyIssuerBench) -> None:
        made = make(bench).key
        bench.advance(timedelta(hours=1))
        bench.use(made.hash)
        seen = bench.issuer.get(made.hash)
        assert seen is not None
        assert seen.last_used_at is not None
        assert seen.last_used_at == bench.now
        assert seen.usage is not None
        assert made.usage is not None
        assert seen.usage > made.usage

    def test_a_key_that_never_was_is_absent(self, bench: KeyIssuerBench) -> None:
        assert bench.issuer.get(NOBODY) is None

    def test_an_empty_account_lists_nothing(self, bench: KeyIssuerBench) -> None:
        assert bench.issuer.list_keys(None) == ()

    def test_a_listing_holds_the_default_workspace_or_the_named_one(
        self, bench: KeyIssuerBench
    ) -> None:
        here, there = bench.workspace(), bench.workspace()
        default, mine = make(bench).key.hash, make(bench, here).key.hash
        other = make(bench, there).key.hash
        assert listed(bench) == {default}
        assert listed(bench, here) == {mine}
        assert listed(bench, there) == {other}

    def test_a_key_of_any_workspace_is_found_by_its_hash(self, bench: KeyIssuerBench) -> None:
        made = make(bench, bench.workspace()).key
        assert bench.issuer.get(made.hash) == made

    def test_a_listing_of_an_unknown_workspace_is_refused_and_names_it(
        self, bench: KeyIssuerBench
    ) -> None:
        unknown = str(uuid.uuid4())
        with pytest.raises(Refused, match=f"list keys of workspace {unknown}") as caught:
            bench.issuer.list_keys(unknown)
        assert caught.value.status == 404

    def test_all_workspaces_are_told_of(self, bench: KeyIssuerBench) -> None:
        made = {bench.workspace() for _ in range(101)}
        assert bench.issuer.list_workspaces() >= made

    def test_no_key_is_made_in_an_unknown_workspace(self, bench: KeyIssuerBench) -> None:
        with pytest.raises(Refused) as caught:
            make(bench, str(uuid.uuid4()))
        assert caught.value.status == 400
        assert listed(bench) == set()

    def test_a_listing_holds_disabled_and_expired_keys_and_no_deleted_ones(
        self, bench: KeyIssuerBench
    ) -> None:
        disabled, deleted = make(bench).key.hash, make(bench).key.hash
        expiry = bench.now + timedelta(hours=1)
        expired = bench.issuer.create(NewKey(name=new_name(), expires_at=expiry)).key.hash
        bench.issuer.set_disabled(disabled, True)
        bench.issuer.delete(deleted)
        bench.advance(timedelta(hours=2))
        assert listed(bench) == {disabled, expired}

    def test_a_long_listing_is_whole(self, bench: KeyIssuerBench) -> None:
        made = {make(bench).key.hash for _ in range(205)}
        assert listed(bench) == made

    def test_a_listing_never_shows_the_management_key(self, bench: KeyIssuerBench) -> None:
        assert bench.issuer.whoami_management().is_management_key is True
        assert listed(bench) == set()

    def test_a_key_is_disabled_and_enabled_again(self, bench: KeyIssuerBench) -> None:
        minted = make(bench)
        for disabled in (True, True, False, False):
            key = bench.issuer.set_disabled(minted.key.hash, disabled)
            assert key.disabled is disabled
            assert key.hash == minted.key.hash
            assert bench.issuer.get(minted.key.hash) == key

    def test_a_key_that_never_was_cannot_be_disabled(self, bench: KeyIssuerBench) -> None:
        with pytest.raises(Refused) as caught:
            bench.issuer.set_disabled(NOBODY, True)
        assert caught.value.status == 404

    def test_what_a_person_does_shows(self, bench: KeyIssuerBench) -> None:
        first, second = make(bench).key.hash, make(bench).key.hash
        bench.disable_by_hand(first)
        bench.delete_by_hand(second)
        seen = bench.issuer.get(first)
        assert seen is not None
        assert seen.disabled is True
        assert bench.issuer.get(second) is None
        assert listed(bench) == {first}

    def test_a_deleted_key_is_gone(self, bench: KeyIssuerBench) -> None:
        minted = make(bench)
        bench.issuer.delete(minted.key.hash)
        assert bench.issuer.get(minted.key.hash) is None
        assert listed(bench) == set()
        assert bench.issuer.whoami(minted.secret) is None

    def test_to_delete_what_is_gone_is_to_delete_it(self, bench: KeyIssuerBench) -> None:
        gone, never = make(bench).key.hash, NOBODY
        bench.issuer.delete(gone)
        bench.issuer.delete(gone)
        bench.issuer.delete(never)
        assert bench.issuer.get(gone) is None

    def test_a_key_says_of_itself_whether_it_works(self, bench: KeyIssuerBench) -> None:
        expiry = (bench.now + timedelta(hours=1)).replace(microsecond=0)
        minted = bench.issuer.create(NewKey(name=new_name(), expires_at=expiry))
        caller = bench.issuer.whoami(minted.secret)
        assert caller is not None
        assert caller.is_management_key is False
        assert caller.expires_at == expiry
        bench.issuer.set_disabled(minted.key.hash, True)
        assert bench.issuer.whoami(minted.secret) is None
        bench.issuer.set_disabled(minted.key.hash, False)
        assert bench.issuer.whoami(minted.secret) is not None
        bench.advance(timedelta(hours=2))
        assert bench.issuer.whoami(minted.secret) is None

    @pytest.mark.parametrize(
        "value", ["", "sk-or-v1-nobody", "no key at all", "two\nlines", "ключ"]
    )
    def test_any_other_value_is_no_key(self, bench: KeyIssuerBench, value: str) -> None:
        assert bench.issuer.whoami(Secret(value)) is None

    def test_a_refused_create_makes_nothing(self, bench: KeyIssuerBench) -> None:
        bench.refuse_next_create()
        with pytest.raises(Refused) as caught:
            make(bench)
        assert caught.value.status == 403
        assert (bench.creates(), listed(bench)) == (1, set())

    def test_a_limited_create_makes_nothing_and_says_for_how_long_to_wait(
        self, bench: KeyIssuerBench
    ) -> None:
        bench.limit_next_write(7)
        with pytest.raises(Transient) as caught:
            make(bench)
        assert (caught.value.retry_after, caught.value.pauses_writes) == (7.0, True)
        assert (bench.creates(), listed(bench)) == (1, set())

    def test_a_create_whose_answer_is_lost_is_unknown_and_shows_in_a_listing(
        self, bench: KeyIssuerBench
    ) -> None:
        bench.lose_next_answer()
        name = new_name()
        with pytest.raises(OutcomeUnknown):
            bench.issuer.create(NewKey(name=name))
        assert bench.creates() == 1
        assert [key.name for key in bench.issuer.list_keys(None)] == [name]

    def test_a_create_that_is_lost_on_its_way_is_unknown_and_never_sent_again(
        self, bench: KeyIssuerBench
    ) -> None:
        bench.lose_next_request()
        with pytest.raises(OutcomeUnknown):
            make(bench)
        assert (bench.creates(), listed(bench)) == (1, set())

    def test_a_limited_change_changes_nothing(self, bench: KeyIssuerBench) -> None:
        made = make(bench).key
        for change in (
            lambda: bench.issuer.set_disabled(made.hash, True),
            lambda: bench.issuer.delete(made.hash),
        ):
            bench.limit_next_write(7)
            with pytest.raises(Transient) as caught:
                change()
            assert (caught.value.retry_after, caught.value.pauses_writes) == (7.0, True)
        assert bench.issuer.get(made.hash) == made

    def test_a_change_whose_answer_is_lost_is_settled(self, bench: KeyIssuerBench) -> None:
        made = make(bench).key
        bench.lose_next_answer()
        assert bench.issuer.set_disabled(made.hash, True).disabled is True
        bench.lose_next_answer()
        bench.issuer.delete(made.hash)
        assert bench.issuer.get(made.hash) is None

    def test_a_change_is_unknown_where_the_read_that_settles_it_is_lost_too(
        self, bench: KeyIssuerBench
    ) -> None:
        made = make(bench).key
        bench.lose_answers()
        with pytest.raises(OutcomeUnknown):
            bench.issuer.set_disabled(made.hash, True)
        with pytest.raises(OutcomeUnknown):
            bench.issuer.delete(made.hash)
        bench.mend()
        assert bench.issuer.get(made.hash) is None

    def test_a_read_that_fails_is_transient(self, bench: KeyIssuerBench) -> None:
        minted = make(bench)
        bench.fail_reads()
        with pytest.raises(Transient):
            bench.issuer.get(minted.key.hash)
        with pytest.raises(Transient):
            bench.issuer.list_keys(None)
        with pytest.raises(Transient):
            bench.issuer.whoami(minted.secret)
        with pytest.raises(Transient):
            bench.issuer.whoami_management()
        bench.mend()
        assert bench.issuer.get(minted.key.hash) is not None

    def test_a_revoked_management_key_is_told_by_every_call_but_a_keys_own(
        self, bench: KeyIssuerBench
    ) -> None:
        minted = make(bench)
        bench.revoke_management_key()
        with pytest.raises(Unauthorised):
            make(bench)
        with pytest.raises(Unauthorised):
            bench.issuer.list_keys(None)
        with pytest.raises(Unauthorised):
            bench.issuer.get(minted.key.hash)
        with pytest.raises(Unauthorised):
            bench.issuer.set_disabled(minted.key.hash, True)
        with pytest.raises(Unauthorised):
            bench.issuer.delete(minted.key.hash)
        with pytest.raises(Unauthorised):
            bench.issuer.whoami_management()
        assert bench.issuer.whoami(minted.secret) is not None
