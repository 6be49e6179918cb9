"""A fleet that rotates under load: no call fails, no key is lost, no rotation costs too much."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import pytest

from tests.end_to_end.bench import Place, SandboxProcess, verified
from tests.end_to_end.many_targets import POLICY, WAIT, live
from tests.end_to_end.proxy import Proxy
from tests.servers.vault_server import VaultServer

LONG = os.environ.get("ROTATOR_LONG", "").lower() in {"1", "true"}
SECONDS = 180.0 if LONG else 38.0
"""So long at least; three minutes in the long form (`make soak`)."""
WHOLE = 6 if LONG else 1
"""So many whole lives of every key, however long that takes."""


@pytest.mark.timeout(2 * SECONDS + 3 * WAIT + 60)
def test_a_fleet_rotates_under_load_without_a_failed_call_a_lost_key_or_a_call_too_many(
    make_place: Callable[..., Place], sandbox: SandboxProcess, real_vault: VaultServer
) -> None:
    targets = tuple(f"target-{number:02}" for number in range(20))
    with Proxy(sandbox.url) as openrouter, Proxy(real_vault.address) as vault:
        place = make_place(
            openrouter=openrouter.url,
            vault=vault.url,
            targets=targets,
            policy=POLICY,
            timeout="10s",
            daemon={"claim_timeout": '"40s"'},
        )
        seen = live(place, openrouter, vault, SECONDS, WHOLE)

    assert seen.consumers.failures == ()
    assert seen.consumers.failed_reads == 0
    assert seen.consumers.calls > SECONDS * len(targets) * 5, "the consumers were hardly running"
    assert seen.orphans == []
    assert seen.samples > SECONDS / 5, "the watcher was hardly running"
    assert seen.unattributed == []
    lives = Counter(life.target for life in seen.lives)
    assert all(lives[target] >= WHOLE for target in targets), lives
    assert [life.story() for life in seen.lives if life.too_dear] == []
    assert any(life.busy == 0 for life in seen.lives), "no old key was quiet at the first look"
    verdict = verified([place.audit])
    assert verdict.code == 0, verdict.out
    assert verdict.json["open"] == []
    costs = Counter((len(life.provider), len(life.vault)) for life in seen.lives)
    print(
        f"{seen.consumers.calls} calls of consumers, {seen.minted} keys, {seen.samples} samples; "
        f"(provider, Vault) calls of {len(seen.lives)} rotations: {dict(costs)}"
    )
