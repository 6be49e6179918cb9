"""Two processes of one target: one is paused at a call, and another lives meanwhile.

The paused one wakes up and goes on with its old plan, after the other took over. The
pauses end before the claim's last quarter, within it, after it, and much later, when
the other process has removed the old key or has made the next rotation.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.events import LedgerChange
from tests.engine.crash import LIFE, LONGER, calls
from tests.engine.lab import Lab
from tests.fakes.faults import Kind, nth

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


def test_the_other_process_takes_over_what_the_paused_one_claimed() -> None:
    """So that the table above pauses beside a process that does something."""
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    rival = lab.let_another_live_in_pauses()
    lab.faults.choose = nth("vault.write", 1, Kind.SLOW)
    lab.run()
    changes = [each for _, each in lab.trail.lines if isinstance(each, LedgerChange)]
    assert "take_over" in {each.change for each in changes}
    assert rival.faults.calls.count("openrouter.create") == 1
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    assert book.served.hash == lab.served_hash()
    lab.live(timedelta(hours=9))
    lab.come_to_rest()
