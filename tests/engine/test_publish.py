"""What the publish does when others write the secret, or seem to."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.core.reasons import Reason
from rotator.errors import CheckAndSetConflict
from rotator.ports import Written
from rotator.secret import SecretFields
from tests.engine.lab import PATH, Lab
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind


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
