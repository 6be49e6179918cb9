"""The pulse: the one document in which commands name the targets that have open requests.

The holder of the lease reads it with each heartbeat, so that it need not read every
ledger to find a request. It is read whole, since that costs the same one call as asking
for its version.
"""

from __future__ import annotations

from collections.abc import Callable

from rotator.core.codec import Undecodable, decode_document, encode_document
from rotator.core.lease import SCHEMA, Open, Pulse
from rotator.engine.world import log
from rotator.errors import CheckAndSetConflict, OutcomeUnknown, Transient
from rotator.ports import Clock, LedgerStore

DOCUMENT = "pulse"
"""The document's name under the state prefix."""

_TRIES = 20
_PAUSE = 0.05


def read_pulse(ledgers: LedgerStore) -> Pulse:
    """Return which targets have open requests: one read of Vault.

    Raises:
        ServiceError: Vault could not be asked.
    """
    return _read(ledgers)[1]


def name_in_pulse(ledgers: LedgerStore, clock: Clock, more: tuple[Open, ...]) -> None:
    """Name open requests; several commands may do so at once.

    Raises:
        ServiceError: it could not be written. The requests stand all the same, and are
            found when their targets are next looked at.
    """
    _change(ledgers, clock, lambda pulse: pulse.naming(more))


def strike_from_pulse(ledgers: LedgerStore, clock: Clock, done: frozenset[Open]) -> None:
    """Name requests no longer that are not open any more.

    Raises:
        ServiceError: it could not be written.
    """
    _change(ledgers, clock, lambda pulse: pulse.without(done))


def _read(ledgers: LedgerStore) -> tuple[int, Pulse]:
    """Return the document's version and content; one that is not understood names nothing."""
    record = ledgers.read(DOCUMENT)
    if record.document is None:
        return record.version, Pulse()
    try:
        return record.version, decode_document(Pulse, record.document, SCHEMA)
    except Undecodable as error:
        log.warning("the pulse cannot be understood: %s", error)
        return record.version, Pulse()


def _change(ledgers: LedgerStore, clock: Clock, change: Callable[[Pulse], Pulse]) -> None:
    """Change the document by check-and-set, and anew where another was first."""
    for attempt in range(_TRIES):
        version, pulse = _read(ledgers)
        changed = change(pulse)
        if changed == pulse:
            return
        try:
            ledgers.write(DOCUMENT, encode_document(changed, SCHEMA), version)
        except (CheckAndSetConflict, OutcomeUnknown):
            clock.sleep(_PAUSE * (1 + attempt))
            continue
        return
    raise Transient("vault", f"write {DOCUMENT}", "it keeps changing")
