"""Two processes of one target: one is paused at a call, and another lives meanwhile.

The paused one wakes up and goes on with its old plan, after the other took over. The
pauses end before the claim's last quarter, within it, after it, and much later, when
the other process has removed the old key or has made the next rotation.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.engine.crash import LIFE, LONGER, calls
from tests.engine.lab import Lab
from tests.fakes.faults import Kind

PAUSES = (
    timedelta(minutes=2),
    timedelta(minutes=4),
    timedelta(minutes=10),
    timedelta(hours=5),
    timedelta(hours=13),
)


@pytest.mark.parametrize("pause", PAUSES, ids=str)
@pytest.mark.parametrize("kind", [Kind.SLOW, Kind.SLOW_AFTER])
def test_a_process_that_was_paused_at_any_call_breaks_no_promise(
    kind: Kind, pause: timedelta
) -> None:
    """SLOW pauses before the call's effect, SLOW_AFTER between the effect and the answer."""
    broken: list[str] = []
    for number, name in enumerate(calls(), start=1):
        lab = Lab()
        lab.let_another_live_in_pauses()
        lab.faults.slow_by = pause
        lab.faults.plan = {number: kind}
        try:
            lab.live(LIFE)
            lab.live(LONGER)
            lab.come_to_rest()
        except AssertionError as error:
            broken.append(f"call {number} ({name}): {error}")
    assert not broken, "\n".join(broken)
