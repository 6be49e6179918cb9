"""What the publish does when others write the secret, or seem to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.keys import NewKey
from rotator.core.ledger import KeyTerms, ServedKey
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand
from rotator.core.target import KeySettings
from rotator.errors import CheckAndSetConflict
from rotator.events import KeyVerify, Result
from rotator.ports import MintedKey, Written
from rotator.secret import Secret, SecretFields
from tests.engine.lab import CLAIM_TIMEOUT, PATH, Lab, target
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind, nth


def test_a_conflict_with_our_own_write_is_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab()
    lab.run()
    first = lab.served_hash()
    lab.clock.advance(timedelta(hours=13))
    write = lab.world.secrets.write

    def repeated(path: str, fields: SecretFields, cas: int) -> Written:
        write(path, fields, cas)
        return write(path, fields, cas)

    monkeypatch.setattr(lab.world.secrets, "write", repeated)
    report = lab.run()
    assert report.failure is None
    assert lab.served_hash() not in (None, first)
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    assert book.served.hash == lab.served_hash()
    assert [each.why for each in book.retiring] == [Reason.SUPERSEDED]


def test_a_stranger_who_writes_another_field_costs_one_more_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab()
    lab.run()
    first = lab.served_hash()
    lab.clock.advance(timedelta(hours=13))
    write = lab.world.secrets.write
    meddled: list[bool] = []

    def meddling(path: str, fields: SecretFields, cas: int) -> Written:
        if not meddled:
            meddled.append(True)
            lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), "THEIRS": "new"})
            raise CheckAndSetConflict("vault", "write", "did not match", status=400)
        return write(path, fields, cas)

    monkeypatch.setattr(lab.world.secrets, "write", meddling)
    assert lab.run().failure is None
    assert lab.served_hash() not in (None, first)
    assert (lab.vault.current(PATH) or {})["THEIRS"] == "new"


def test_a_stranger_who_writes_our_field_keeps_his_value_and_our_key_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))

    def meddling(path: str, fields: SecretFields, cas: int) -> Written:
        if (lab.vault.current(PATH) or {})[FIELD] != "theirs":
            lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: "theirs"})
            lab.excused.add(lab.served_hash() or "")
        raise CheckAndSetConflict("vault", "write", "did not match", status=400)

    monkeypatch.setattr(lab.world.secrets, "write", meddling)
    report = lab.run()
    assert (lab.vault.current(PATH) or {})[FIELD] == "theirs"
    assert report.failure is not None
    assert report.failure.reason is Reason.FIELD_CHANGED
    assert report.failure.detail == f"{PATH}#{FIELD} was changed while its key was being replaced"
    book = lab.ledger()
    assert book is not None
    assert book.foreign is not None
    assert [each.why for each in book.retiring if each.why is Reason.NEVER_SERVED]


@pytest.mark.parametrize("call", ["vault.write", "vault.read"])
def test_a_definite_refusal_gives_the_new_key_up_at_once(call: str) -> None:
    """A policy that lost the right to the secret: the key can never have been served."""
    lab = Lab()
    lab.run()
    old = lab.served_hash()
    lab.clock.advance(timedelta(hours=12))
    refused: list[str] = []

    def choose(service: str, name: str, acts: bool) -> Kind | None:
        minted = "openrouter.create" in lab.faults.calls[-12:]
        if f"{service}.{name}" == call and minted and not refused:
            refused.append(call)
            return Kind.FORBIDDEN
        return None

    lab.faults.choose = choose
    lab.run()
    assert refused
    book = lab.ledger()
    assert book is not None
    assert (book.pending, book.retiring) == (None, ())
    assert book.failure is not None
    assert book.failure.reason is Reason.REFUSED
    assert lab.served_hash() == old
    assert lab.account.minted == 2
    assert len(lab.account.deleted) == 1
    lab.live(timedelta(hours=9))
    lab.come_to_rest()


def test_a_publish_that_goes_on_being_refused_leaves_no_key_behind() -> None:
    lab = Lab()
    lab.run()
    old = lab.served_hash()
    lab.faults.choose = lambda service, name, _: (
        Kind.FORBIDDEN if (service, name) == ("vault", "write") else None
    )
    lab.live(timedelta(hours=20))
    assert lab.account.minted > 2
    assert set(lab.account.keys) == {old}
    lab.faults.choose = lambda *_: None
    lab.live(timedelta(hours=9))
    lab.come_to_rest()


def due_lab() -> Lab:
    """A target that serves a key, which is due."""
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    return lab


def plaintext(number: int) -> Secret:
    """The plaintext of the key that the account makes as the first, the second…"""
    return Secret(f"sk-or-v1-{number:064x}")


def just_before(lab: Lab, call: str, deed: Callable[[], object], *, after: str) -> list[str]:
    """Let somebody do something once, just before a call that follows another one."""
    before_each, begins, done = lab.faults.before_each, len(lab.faults.calls), list[str]()

    def before(service: str, name: str, acts: bool) -> None:
        if f"{service}.{name}" == call and after in lab.faults.calls[begins:] and not done:
            done.append(call)
            deed()
        before_each(service, name, acts)

    lab.faults.before_each = before
    return done


def test_a_new_key_that_is_not_accepted_is_given_up_and_the_trail_says_so() -> None:
    lab = due_lab()
    old, new = lab.served_hash(), plaintext(2).sha256()
    lab.account.refuses.add(new)
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.NEW_KEY_REFUSED
    assert report.failure.detail == "openrouter: verify the key: it is not accepted"
    event = lab.trail.events(KeyVerify.name)[-1]
    assert (event.key_hash, event.result) == (new, Result.REFUSED)
    assert event.error == report.failure.detail
    assert lab.served_hash() == old
    assert new in lab.account.deleted


def test_a_key_that_is_not_as_it_was_ordered_is_given_up_before_anybody_gets_it() -> None:
    lab = due_lab()
    old = lab.served_hash()

    def instead(service: str, name: str, acts: bool, effect: Callable[[], object]) -> object:
        del service, acts
        done = effect()
        if name == "create":
            assert isinstance(done, MintedKey)
            del lab.account.keys[done.key.hash]
            lab.account.keys["f" * 64] = replace(done.key, hash="f" * 64, limit=5000.0)
            return MintedKey(lab.account.keys["f" * 64], done.secret)
        return done

    lab.faults.instead = instead
    lab.faults.choose = nth("openrouter.disable", 1, Kind.DIE_BEFORE)
    lab.run()
    book = lab.ledger()
    assert book is not None
    assert book.failure is not None
    assert book.failure.reason is Reason.NOT_AS_ORDERED
    assert book.failure.detail == "asked for limit 50.0 daily, got 5000.0 daily"
    (entry,) = book.retiring
    assert (entry.hash, entry.why) == ("f" * 64, Reason.NEVER_SERVED)
    assert entry.value_sha256 == plaintext(2).sha256()
    noted = [each for each in lab.trail.events("key.verify") if each.key_hash == entry.hash]
    assert noted == [], "it is not even tried"
    assert lab.served_hash() == old


def test_what_the_field_held_is_not_overwritten_where_it_is_no_text() -> None:
    lab = Lab()
    odd = {"OTHER": "stays", FIELD: 4711}
    done = just_before(
        lab, "vault.read", lambda: lab.vault.put(PATH, odd), after="openrouter.create"
    )
    report = lab.run()
    assert done
    assert report.failure is not None
    assert report.failure.reason is Reason.FIELD_CHANGED
    assert lab.vault.current(PATH) == odd


def test_a_claim_is_based_on_the_version_that_a_stranger_made_before_the_publish() -> None:
    lab = due_lab()
    theirs: dict[str, object] = {**(lab.vault.current(PATH) or {}), "THEIRS": "new"}
    just_before(lab, "vault.read", lambda: lab.vault.put(PATH, theirs), after="openrouter.create")
    lab.faults.choose = nth("vault.write", 1, Kind.DIE_BEFORE)
    lab.run()
    book, now = lab.ledger(), lab.world.secrets.metadata(PATH)
    assert book is not None
    assert book.pending is not None
    assert book.pending.is_based_on(now.version, now.created_time)


@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies before it promotes"])
def test_an_old_key_that_was_put_back_for_a_while_during_a_rotation_gets_its_grace_afresh(
    dies: bool,
) -> None:
    lab = due_lab()
    old, value = lab.served_hash() or "", (lab.vault.current(PATH) or {})[FIELD]
    lab.run()
    served = (lab.vault.current(PATH) or {})[FIELD]
    lab.clock.advance(timedelta(minutes=50))

    def put_back_and_away() -> None:
        for each in (value, served):
            lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: each})

    began = lab.clock.now()
    done = just_before(lab, "vault.read", put_back_and_away, after="openrouter.create")
    if dies:
        lab.faults.choose = nth("vault.write_ledger", 3, Kind.DIE_BEFORE)
    lab.run(demand=Demand())
    assert done
    if dies:
        lab.clock.advance(2 * CLAIM_TIMEOUT)
    lab.run()
    lab.run()
    assert lab.served_hash() == plaintext(3).sha256()
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    assert book.served.hash == lab.served_hash()
    entry = book.entry(old)
    assert entry is not None
    assert entry.since >= began


def test_a_lost_answer_behind_which_our_value_stands_is_read_once_and_once_more_for_proof() -> None:
    lab = due_lab()
    lab.faults.choose = nth("vault.write", 1, Kind.UNSETTLED)
    calls = len(lab.faults.calls)
    assert lab.run().failure is None
    assert lab.faults.calls[calls:].count("vault.read") == 3


def test_a_lost_answer_behind_which_another_value_stands_lets_the_new_key_retire() -> None:
    lab = due_lab()
    theirs: dict[str, object] = {**(lab.vault.current(PATH) or {}), FIELD: "theirs"}

    def overwrite() -> None:
        lab.vault.put(PATH, theirs)
        lab.excused.add(lab.served_hash() or "")

    lab.faults.choose = nth("vault.write", 1, Kind.UNSETTLED)
    done = just_before(lab, "vault.read", overwrite, after="vault.write")
    report = lab.run()
    assert done
    assert report.failure is not None
    assert report.failure.reason is Reason.PUBLISH_UNKNOWN
    assert report.failure.detail.startswith("vault: write: ")
    book = lab.ledger()
    assert book is not None
    assert book.pending is None
    whys = {each.hash: each.why for each in book.retiring}
    assert whys[plaintext(2).sha256()] is Reason.MAYBE_SERVED


@pytest.mark.parametrize("written_again", [True, False])
def test_what_reads_back_otherwise_than_it_was_written_is_not_promoted(written_again: bool) -> None:
    lab = due_lab()

    def meddle() -> None:
        if written_again:
            lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), "THEIRS": "new"})
        else:
            lab.promises.began, lab.promises.other = set(), None  # a person deletes both
            lab.vault.delete(PATH)

    just_before(lab, "vault.read", meddle, after="vault.write")
    report = lab.run()
    if written_again:
        assert report.failure is None, "the write was acknowledged; theirs is newer"
    else:
        assert report.failure is not None
        assert report.failure.reason is Reason.PUBLISH_UNKNOWN
        assert "does not read back as it was written" in report.failure.detail


def test_the_ledger_tells_all_of_a_key_that_was_promoted() -> None:
    settings = KeySettings(
        limit=5.0, limit_reset="weekly", expires_in=timedelta(days=30), workspace_id="w1"
    )
    lab = Lab((target(key=settings),))
    began = lab.clock.now()
    lab.run()
    book, now = lab.ledger(), lab.world.secrets.metadata(PATH)
    assert book is not None
    (key,) = lab.account.keys.values()
    assert book.served == ServedKey(
        hash=plaintext(1).sha256(),
        value_sha256=plaintext(1).sha256(),
        minted_by_us=True,
        workspace="w1",
        minted_at=began,
        claimed_at=began,
        published_at=now.created_time or began,
        due_from=began,
        secret_version=now.version,
        secret_created_time=now.created_time,
        expires_at=key.expires_at,
        terms=KeyTerms(5.0, "weekly", key.include_byok_in_limit, key.creator_user_id),
    )
    assert key.expires_at is not None


def silent(lab: Lab, **left_out: None) -> None:
    """From now on OpenRouter's answer to a create leaves these fields out."""
    make = lab.account.make

    def told(new: NewKey) -> MintedKey:
        minted = make(new)
        return replace(minted, key=replace(minted.key, **left_out))  # type: ignore[arg-type]

    lab.account.make = told  # type: ignore[method-assign]


def test_what_the_answer_to_the_create_leaves_out_is_remembered_as_it_was_asked_for() -> None:
    settings = KeySettings(expires_in=timedelta(days=30), workspace_id="w1")
    lab = Lab((target(key=settings),))
    silent(lab, expires_at=None, workspace_id=None)
    lab.run()
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    (key,) = lab.account.keys.values()
    assert key.expires_at is not None
    assert (book.served.expires_at, book.served.workspace) == (key.expires_at, "w1")


@pytest.mark.parametrize(
    ("otherwise", "told"),
    [
        ({"limit": 50.004}, "asked for limit 50.0 daily, got 50.004 daily"),
        ({"workspace_id": "w2"}, "asked for workspace_id w1, got w2"),
        ({"include_byok_in_limit": True}, "asked for include_byok_in_limit False, got True"),
    ],
)
def test_a_key_that_is_never_as_ordered_costs_one_key_for_each_growing_wait(
    otherwise: dict[str, object], told: str
) -> None:
    lab = Lab((target(key=KeySettings(limit=50.0, limit_reset="daily", workspace_id="w1")),))
    lab.run()
    old, make = lab.served_hash(), lab.account.make
    lab.account.make = lambda new: make(replace(new, **otherwise))  # type: ignore[arg-type, method-assign]
    lab.clock.advance(timedelta(hours=12))
    report = lab.run()
    assert report.failure is not None
    assert (report.failure.reason, report.failure.detail) == (Reason.NOT_AS_ORDERED, told)
    for _ in range(60):
        lab.clock.advance(timedelta(minutes=1))
        lab.run()
    assert lab.account.minted < 15
    assert lab.served_hash() == old
    assert set(lab.account.keys) == {old}, "none of them is left"


def test_a_limit_that_openrouter_rounds_down_to_cents_is_as_ordered() -> None:
    lab = Lab((target(key=KeySettings(limit=500.0)),))
    lab.run()
    old, make = lab.served_hash() or "", lab.account.make
    lab.account.change(old, limit_remaining=454.542594979)
    lab.account.make = lambda new: make(replace(new, limit=454.54))  # type: ignore[method-assign]
    lab.clock.advance(timedelta(hours=12))
    assert lab.run().failure is None
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    assert book.served.hash == lab.served_hash() != old
    assert book.served.terms == KeyTerms(454.54, None, False, None)
