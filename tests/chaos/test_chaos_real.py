"""A minute in which the daemon is killed, paused and cut off, again and again, beside a real Vault."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.run import LONGER, REST_WITHIN, Wanted, chaos

SECONDS = 60.0


@pytest.mark.timeout(SECONDS * LONGER + 6 * REST_WITHIN)
def test_nothing_is_lost_though_the_daemon_is_killed_again_and_again(
    vault_binary: Path, tmp_path: Path
) -> None:
    seed = random.randrange(1_000_000)
    outcome = chaos(Wanted(SECONDS, seed), vault_binary, tmp_path / "evidence", print)
    print(outcome.table())
    assert outcome.problems == [], f"make chaos MINUTES=1 SEED={seed}"
    assert outcome.figures["failed calls"] == 0
    assert outcome.figures["keys left"] == 0
