"""The installation: one random id for one state prefix in Vault, drawn once and never changed.

It stands in the marker of every key that is made, so that a configuration that was
copied to another state prefix does not take the first one's keys for its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from rotator.errors import CheckAndSetConflict, OutcomeUnknown, Refused, Transient
from rotator.ports import LedgerStore

DOCUMENT = "installation"
"""The document's name under the state prefix."""

SCHEMA = 1
"""The version of the document's format that this program reads and writes."""

NONE_YET = "0" * 16
"""Stands for an installation that does not exist yet, where nothing may be written."""

_ID = re.compile(r"[0-9a-f]{16}")
_TRIES = 3


def read_installation(ledgers: LedgerStore) -> str | None:
    """Return the installation's id, 16 hex digits, or None where it was never made.

    Raises:
        Refused: the document is of a newer schema, unreadable or deleted.
        ServiceError: Vault could not be asked.
    """
    record = ledgers.read(DOCUMENT)
    if record.document is not None:
        return _id_of(record.document)
    if record.version:
        raise _refused(
            "it was deleted; bring it back (vault kv undelete), or keys are lost track of"
        )
    return None


def read_or_create_installation(ledgers: LedgerStore, draw: Callable[[], str]) -> str:
    """Return the installation's id, 16 hex digits; where there is none yet it is made.

    Two processes that start at once agree: one of them is refused by check-and-set, and
    reads what the other wrote.

    Args:
        ledgers: our own documents.
        draw: returns 16 random hex digits.

    Raises:
        Refused: the document is of a newer schema, unreadable or deleted.
        ServiceError: Vault could not be asked.
    """
    for _ in range(_TRIES):
        known = read_installation(ledgers)
        if known is not None:
            return known
        try:
            ledgers.write(DOCUMENT, {"id": draw(), "schema": SCHEMA}, 0)
        except (CheckAndSetConflict, OutcomeUnknown):
            continue  # What stands there now tells.
    known = read_installation(ledgers)
    if known is None:
        raise Transient("vault", "make the installation's id", "it is not there after the write")
    return known


def _id_of(document: Mapping[str, Any]) -> str:
    """Return the id that a document holds."""
    schema, found = document.get("schema"), document.get("id")
    if not isinstance(schema, int) or isinstance(schema, bool):
        schema = 0
    if schema > SCHEMA:
        raise _refused(f"its schema {schema} is newer than this program's, {SCHEMA}")
    if schema != SCHEMA or not isinstance(found, str) or not _ID.fullmatch(found):
        raise _refused("it cannot be understood; it is left as it is")
    return found


def _refused(why: str) -> Refused:
    return Refused("vault", f"read {DOCUMENT} under the state prefix", why)
