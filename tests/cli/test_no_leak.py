"""No output of any command holds a plaintext, at the most talkative level."""

from __future__ import annotations

import pytest

from rotator.sandbox.faults import Fault, FaultKind
from tests.wiring.stand import FIELD, QUICK, Stand

COMMANDS = [
    "check",
    "run --once",
    "status",
    "plan",
    "rotate billing-api",
    "rollback billing-api",
    "rotate --all --compromised --json",
    "status --json",
    "retire billing-api",
    "hold billing-api --why x",
    "release billing-api",
    "run --once --json",
]


def plaintexts(stand: Stand) -> set[str]:
    """Everything secret that there is: our credentials, and every value ever served."""
    mount = stand.sandbox.vault.find_mount("secret/x")
    assert mount is not None
    served = {
        version.data[FIELD]
        for secret in mount[0].secrets.values()
        for version in secret.versions.values()
        if version.data is not None and FIELD in version.data
    }
    return served | {stand.sandbox.management_key, stand.sandbox.vault_token}


@pytest.mark.parametrize("faulty", [False, True], ids=["all is well", "calls fail"])
def test_no_plaintext_leaves_the_process(stand: Stand, faulty: bool) -> None:
    stand.write(policy=QUICK)
    first = stand.run("--log-level", "debug", "run", "--once")
    assert first.returncode == 0
    outputs = [first.stdout, first.stderr]
    if faulty:
        for seed, kind in enumerate((FaultKind.CUT, FaultKind.TRUNCATE, FaultKind.ERROR)):
            fault = Fault(kind=kind, count=None, probability=0.05, seed=seed)
            stand.sandbox.faults.add(fault)
    for words in COMMANDS:
        timeout = ["--timeout", "5s"] if words.startswith(("rotate", "rollback")) else []
        result = stand.run("--log-level", "debug", *words.split(), *timeout)
        assert "Traceback" not in result.stderr
        outputs += [result.stdout, result.stderr]
    outputs.append(stand.audit.read_text())
    canaries = plaintexts(stand)
    assert len(canaries) >= 3
    for output in outputs:
        assert not [canary for canary in canaries if canary in output]
    assert "sk-or-v1-" not in "".join(outputs)
