"""Which instants from outside are believed.

A document in Vault or an answer of OpenRouter can name any of the years 1 to 9999. A
wait added to the last of them, or the offset of a time zone taken from the first, is
no instant at all, and would end a whole command instead of one target.
"""

from __future__ import annotations

from datetime import UTC, datetime

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2500, 1, 1, tzinfo=UTC)
"""Far enough from the last instant for every sum of durations that the configuration accepts."""


def is_believable(at: datetime) -> bool:
    """Tell whether an aware instant lies in the years from 1970 to 2499."""
    return EARLIEST <= at < LATEST
