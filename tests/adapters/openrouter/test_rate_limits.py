"""How long a 429 says to wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rotator.adapters.openrouter import OpenRouterIssuer
from rotator.errors import Transient
from tests.adapters.loopback import Reply
from tests.adapters.openrouter.conftest import HASH, NOW, StillClock
from tests.adapters.openrouter.raw_server import RawServer, answer, error, page

IN_A_MINUTE = NOW + timedelta(minutes=1)
SECONDS, MILLISECONDS = IN_A_MINUTE.timestamp(), IN_A_MINUTE.timestamp() * 1000
DAY = 25 * 3600.0
UNTIL_MIDNIGHT = 2 * 3600.0


def limited(message: str = "Rate limit exceeded", /, headers: Any = None, **metadata: Any) -> Reply:
    return error(429, message, headers, **metadata)


DELAYS: dict[str, tuple[Reply, float | None]] = {
    "seconds": (limited(headers={"Retry-After": "17"}), 17.0),
    "a fraction": (limited(headers={"Retry-After": "1.5"}), 1.5),
    "a date": (limited(headers={"Retry-After": "Wed, 04 Mar 2026 22:01:00 GMT"}), 60.0),
    "a date that is over": (limited(headers={"Retry-After": "Wed, 04 Mar 2026 21:00:00 GMT"}), 0.0),
    "a negative number": (limited(headers={"Retry-After": "-5"}), 0.0),
    "far too long": (limited(headers={"Retry-After": "99999999"}), DAY),
    "a date far too late": (limited(headers={"Retry-After": "Wed, 04 Mar 2099 22:01:00 GMT"}), DAY),
    "no number": (limited(headers={"Retry-After": "nan"}), None),
    "endless": (limited(headers={"Retry-After": "inf"}), None),
    "nonsense": (limited(headers={"Retry-After": "later"}), None),
    "nothing": (limited(), None),
    "reset in milliseconds": (limited(headers={"X-RateLimit-Reset": f"{MILLISECONDS:.0f}"}), 60.0),
    "reset in seconds": (limited(headers={"X-RateLimit-Reset": f"{SECONDS:.0f}"}), 60.0),
    "reset as a delay": (limited(headers={"X-RateLimit-Reset": "45"}), 45.0),
    "reset that is nonsense": (limited(headers={"X-RateLimit-Reset": "soon"}), None),
    "reset in the metadata": (
        answer(
            429,
            {
                "error": {
                    "code": 429,
                    "message": "Rate limit exceeded",
                    "metadata": {"headers": {"X-RateLimit-Reset": f"{MILLISECONDS:.0f}"}},
                }
            },
        ),
        60.0,
    ),
    "retry-after before reset": (
        limited(headers={"Retry-After": "9", "X-RateLimit-Reset": f"{SECONDS:.0f}"}),
        9.0,
    ),
    "a daily quota by name": (limited("Limit keys-modify-api-rpd-v2 exceeded"), UNTIL_MIDNIGHT),
    "a daily quota in words": (limited("Too many changes per day"), UNTIL_MIDNIGHT),
    "a daily quota in the metadata": (limited(quota="keys-modify-api-rpd-v2"), UNTIL_MIDNIGHT),
    "a daily quota with a delay": (limited("daily limit", headers={"Retry-After": "30"}), 30.0),
    "a daily quota before reset": (
        limited("daily limit", headers={"X-RateLimit-Reset": f"{SECONDS:.0f}"}),
        UNTIL_MIDNIGHT,
    ),
    "a page of a proxy": (page(429, {"Retry-After": "8"}), 8.0),
}


@pytest.mark.parametrize("case", DELAYS)
def test_the_delay_is_read_wherever_it_stands(
    server: RawServer, issuer: OpenRouterIssuer, case: str
) -> None:
    reply, delay = DELAYS[case]
    server.will(reply)
    with pytest.raises(Transient) as caught:
        issuer.get(HASH)
    assert caught.value.retry_after == delay
    assert caught.value.pauses_writes
    assert caught.value.status == 429
    assert len(server.calls) == 1


def test_a_daily_quota_met_just_before_midnight_ends_at_midnight(
    server: RawServer, issuer: OpenRouterIssuer, clock: StillClock
) -> None:
    clock.time = datetime(2026, 3, 4, 23, 59, 59, tzinfo=UTC)
    server.will(limited("keys-modify-api-rpd-v2"))
    with pytest.raises(Transient) as caught:
        issuer.delete(HASH)
    assert caught.value.retry_after == 1.0
