"""Durations as the operator writes them: a number and a unit, or several in a row.

The notation is that of Vault and Prometheus with days and weeks added. A month and a
year have no fixed length and are no units here.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

LEGAL = "a number and one of ms, s, m, h, d, w, as in 90s, 1.5h or 1h30m"
"""What `parse_duration` accepts, for messages."""

LONGEST = timedelta(days=36500)
"""The longest duration that is accepted; beyond it, sums with a date could overflow."""

_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}
_ORDER = list(_MICROSECONDS)
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|[smhdw])")


def parse_duration(text: str) -> timedelta:
    """Return the duration that a text such as ``90s``, ``1.5h`` or ``1h30m`` names.

    Each unit may stand once, the larger before the smaller. Zero is a duration
    (``0s``); a sign, a blank and a number without a unit are errors.

    Raises:
        ValueError: the text is no duration; the message says what is.
    """
    parts = list(_PART.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        raise ValueError(f"a duration is {LEGAL}")
    ranks = [_ORDER.index(part.group(2)) for part in parts]
    if any(left >= right for left, right in pairwise(ranks)):
        raise ValueError("each unit may stand once, the larger before the smaller, as in 1h30m")
    total = sum(Decimal(part.group(1)) * _MICROSECONDS[part.group(2)] for part in parts)
    if total != int(total):
        raise ValueError("a duration is a whole number of microseconds")
    if int(total) > LONGEST // _MICROSECOND:
        raise ValueError(f"a duration is at most {LONGEST.days}d")
    return timedelta(microseconds=int(total))


def format_duration(duration: timedelta) -> str:
    """Return a duration in the notation of `parse_duration`, days being the largest unit.

    What is not negative is read back as the same duration. A negative one, which
    only a display meets, begins with a minus sign.
    """
    if duration < timedelta():
        return f"-{format_duration(-duration)}"
    rest = duration // _MICROSECOND
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, _MICROSECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    if rest:
        milliseconds = f"{rest // 1000}.{rest % 1000:03}".rstrip("0").rstrip(".")
        parts.append(f"{milliseconds}ms")
    return "".join(parts) or "0s"
