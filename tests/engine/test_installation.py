"""The installation's id where writing it is answered by nothing; the rest is tested in `wiring`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rotator.engine.installation import read_installation, read_or_create_installation
from rotator.errors import Refused, Transient
from rotator.ports import LedgerStore
from tests.engine.lab import Lab
from tests.fakes.faults import Kind

ID = "0123456789abcdef"
FAILED = "vault: make the installation's id: it is not there after the write"


def losing(choose: Callable[[int], Kind]) -> LedgerStore:
    """Ledgers whose writes, counted from 1, are answered by nothing."""
    lab, writes = Lab(), list[str]()

    def lost(service: str, name: str, acts: bool) -> Kind | None:
        del service, acts
        if name != "write_ledger":
            return None
        writes.append(name)
        return choose(len(writes))

    lab.faults.before_each = lambda *_: None  # there is no audit trail for it
    lab.faults.choose = lost
    return lab.world.ledgers


def test_an_id_that_is_not_there_after_several_writes_is_given_up() -> None:
    ledgers = losing(lambda _: Kind.NO_EFFECT_LOST)
    with pytest.raises(Transient, match=rf"^{FAILED}$"):
        read_or_create_installation(ledgers, lambda: ID)
    assert read_installation(ledgers) is None


def test_an_id_that_the_last_write_has_made_is_found_though_its_answer_was_lost() -> None:
    ledgers = losing(lambda write: Kind.UNSETTLED if write == 3 else Kind.NO_EFFECT_LOST)
    assert read_or_create_installation(ledgers, lambda: ID) == ID
    assert read_installation(ledgers) == ID


@pytest.mark.parametrize("schema", [True, "1", None, 1.0])
def test_an_id_of_a_schema_that_is_no_whole_number_is_not_understood(schema: object) -> None:
    ledgers = losing(lambda _: Kind.SLOW)
    ledgers.write("installation", {"id": ID, "schema": schema}, 0)
    text = r"^vault: read installation under the state prefix: it cannot be understood"
    with pytest.raises(Refused, match=text):
        read_installation(ledgers)
