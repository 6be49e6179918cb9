"""A ledger that somebody else wrote: the secret, not the ledger, says which key is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from rotator.core.codec import encode_ledger
from rotator.core.keys import NewKey
from rotator.core.ledger import Ledger, RetiringKey
from rotator.core.reasons import Reason
from rotator.core.target import SecretRef
from rotator.engine.world import ledger_name
from tests.engine.lab import PATH, Lab
from tests.engine.promises import FIELD
from tests.fakes.vault import FakeLedgers

LIES: dict[str, Callable[[RetiringKey], RetiringKey]] = {
    "another path": lambda entry: replace(entry, secret=SecretRef("secret/elsewhere", FIELD)),
    "another field": lambda entry: replace(entry, secret=SecretRef(PATH, "other")),
    "another value": lambda entry: replace(entry, value_sha256="0" * 64),
}


def _retired(lab: Lab, key_hash: str) -> RetiringKey:
    """An entry that asks for a disable at once."""
    return RetiringKey(
        hash=key_hash,
        value_sha256=key_hash,
        minted_by_us=True,
        workspace=None,
        minted_at=None,
        secret=SecretRef(PATH, FIELD),
        since=lab.clock.now(),
        why=Reason.RETIRED,
    )


def _forge(lab: Lab, book: Ledger) -> None:
    """Write a ledger past the program."""
    document = json.loads(json.dumps(encode_ledger(book)))
    lab.vault.put(FakeLedgers.prefix + ledger_name("app"), document)


@pytest.mark.parametrize("lie", LIES)
def test_a_served_key_that_its_ledger_calls_retired_is_not_disabled(lie: str) -> None:
    lab = Lab()
    lab.run()
    served, book = lab.served_hash(), lab.ledger()
    assert served is not None
    assert book is not None
    assert book.served is not None
    decoy = lab.account.make(NewKey("a decoy")).key.hash
    lab.vault.put("secret/elsewhere", {FIELD: "no key"})
    entry = LIES[lie](_retired(lab, served))
    told = replace(book.served, hash=decoy, value_sha256=decoy)
    _forge(lab, replace(book, served=told, retiring=(entry,)))
    lab.run(full=True)
    assert lab.account.accepts(served)
