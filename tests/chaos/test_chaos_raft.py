"""A minute in which the leader of three Vault servers is killed, again and again, and the daemon too."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.run import LONGER, REST_WITHIN, Wanted, chaos

SECONDS = 60.0


@pytest.mark.timeout(SECONDS * LONGER + 6 * REST_WITHIN)
def test_nothing_is_lost_though_the_leader_of_a_raft_cluster_is_killed_again_and_again(
    vault_binary: Path, tmp_path: Path
) -> None:
    seed = random.randrange(1_000_000)
    outcome = chaos(Wanted(SECONDS, seed, raft=True), vault_binary, tmp_path / "evidence", print)
    print(outcome.table())
    assert outcome.problems == [], f"make chaos MINUTES=1 MODE=raft SEED={seed}"
    assert outcome.figures["failed calls"] == 0
    assert outcome.figures["keys left"] == 0
