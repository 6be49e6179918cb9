"""The simulated consumers see what an application would see."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import pytest

from rotator.sandbox.consumers import ConsumerFleet, ConsumerTarget, Report
from rotator.sandbox.faults import Fault, FaultKind
from rotator.sandbox.server import Sandbox

TARGET = ConsumerTarget("billing", "secret", "apps/billing", "KEY")
PATIENCE = 30.0
"""Seconds after which a test gives up waiting for what must come."""


def serve_new_key(sandbox: Sandbox, target: ConsumerTarget = TARGET) -> str:
    """Mint a key, put it into the target's secret, and return its hash."""
    authorization = f"Bearer {sandbox.management_key}"
    made = sandbox.account.create_key(authorization, {"name": target.name})
    sandbox.vault.write(target.mount, target.path, {target.field: made["key"]})
    hash_: str = made["data"]["hash"]
    return hash_


def fleet(
    sandbox: Sandbox,
    *targets: ConsumerTarget,
    cache_for: float = 0.0,
    timeout: float = 10.0,
    read_timeout: float | None = None,
    token: str | None = None,
) -> ConsumerFleet:
    return ConsumerFleet(
        targets or (TARGET,),
        openrouter_url=sandbox.openrouter_url,
        vault_url=sandbox.vault_url,
        vault_token=token or sandbox.vault_token,
        rate=50.0,
        cache_for=cache_for,
        timeout=timeout,
        read_timeout=read_timeout,
    )


def wait_for(running: ConsumerFleet, seen: Callable[[Report], bool]) -> Report:
    """Return the first report in which it is seen."""
    end = time.monotonic() + PATIENCE
    while not seen(report := running.report()):
        assert time.monotonic() < end, report
        time.sleep(0.01)
    return report


def test_a_rotation_with_a_grace_period_costs_its_consumer_no_call(sandbox: Sandbox) -> None:
    old = serve_new_key(sandbox)
    running = fleet(sandbox).start()
    wait_for(running, lambda report: report.calls_by_key.get(("billing", old), 0) >= 3)
    new = serve_new_key(sandbox)
    wait_for(running, lambda report: report.calls_by_key.get(("billing", new), 0) >= 3)
    sandbox.account.set_disabled(old, disabled=True)
    before = running.report().calls
    wait_for(running, lambda report: report.calls >= before + 3)
    report = running.stop()

    assert report.failures == ()
    assert report.calls == sum(report.calls_by_key.values())
    assert set(report.calls_by_key) == {("billing", old), ("billing", new)}


def test_a_disabled_key_that_is_still_served_fails_every_call(sandbox: Sandbox) -> None:
    served = serve_new_key(sandbox)
    with fleet(sandbox) as running:
        good = wait_for(running, lambda report: report.calls >= 3)
        assert good.failures == ()
        sandbox.account.set_disabled(served, disabled=True)
        wait_for(running, lambda report: len(report.failures) >= 5)
    report = running.report()

    assert {(failure.status, failure.what) for failure in report.failures} == {(401, "HTTP 401")}
    assert {failure.key_hash for failure in report.failures} == {served}
    assert report.calls == len(report.failures) + report.calls_by_key["billing", served]
    assert list(report.failures) == sorted(report.failures, key=lambda failure: failure.at)


def test_a_key_that_is_cached_is_used_on_and_its_401_counts(sandbox: Sandbox) -> None:
    old = serve_new_key(sandbox)
    with fleet(sandbox, cache_for=3600) as running:
        wait_for(running, lambda report: report.calls >= 2)
        serve_new_key(sandbox)
        sandbox.account.set_disabled(old, disabled=True)
        report = wait_for(running, lambda report: len(report.failures) >= 3)

    assert {failure.key_hash for failure in report.failures} == {old}
    assert report.reads == 1


def test_a_read_that_fails_leaves_the_consumer_the_key_it_has(sandbox: Sandbox) -> None:
    serve_new_key(sandbox)
    with fleet(sandbox) as running:
        wait_for(running, lambda report: report.calls >= 2)
        sandbox.vault.sealed = True
        report = wait_for(running, lambda report: report.failed_reads >= 3)

    assert report.failures == ()


def test_a_read_that_is_given_up_holds_up_no_call_for_long(sandbox: Sandbox) -> None:
    serve_new_key(sandbox)
    with fleet(sandbox, read_timeout=0.2) as running:
        wait_for(running, lambda report: report.calls >= 2)
        sandbox.faults.add(Fault(kind=FaultKind.LATENCY, seconds=60, api="vault"))
        before = running.report().calls
        report = wait_for(running, lambda report: report.calls >= before + 5)

    assert report.failures == ()
    assert report.failed_reads == 1


def test_without_a_key_every_call_fails_as_such(sandbox: Sandbox) -> None:
    serve_new_key(sandbox)
    stranger = sandbox.tokens.add_token(("none",))
    with fleet(sandbox, token=stranger) as running:
        report = wait_for(running, lambda report: len(report.failures) >= 2)

    assert {(f.status, f.what, f.key_hash) for f in report.failures} == {(0, "no key", None)}


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(kind=FaultKind.CUT, path="/api/v1/chat/*"), 0),
        (Fault(kind=FaultKind.CUT, reset=True, path="/api/v1/chat/*"), 0),
        (Fault(kind=FaultKind.TRUNCATE, path="/api/v1/chat/*"), 0),
        (Fault(kind=FaultKind.HTML, status=200, path="/api/v1/chat/*"), 0),
        (Fault(kind=FaultKind.ERROR, status=503, path="/api/v1/chat/*"), 503),
    ],
)
def test_a_faulty_answer_is_one_failure_and_the_next_call_succeeds(
    sandbox: Sandbox, fault: Fault, status: int
) -> None:
    serve_new_key(sandbox)
    sandbox.faults.add(fault)
    with fleet(sandbox) as running:
        report = wait_for(running, lambda report: sum(report.calls_by_key.values()) >= 2)

    assert [failure.status for failure in report.failures] == [status]


def test_twenty_consumers_share_the_work_over_two_connections_each(sandbox: Sandbox) -> None:
    targets = [ConsumerTarget(f"app-{n}", "secret", f"apps/{n}", "KEY") for n in range(20)]
    hashes = {(target.name, serve_new_key(sandbox, target)) for target in targets}
    with fleet(sandbox, *targets, cache_for=0.05) as running:
        wait_for(running, lambda report: len(report.calls_by_key) == 20 and report.calls >= 200)
    report = running.report()

    assert report.failures == ()
    assert set(report.calls_by_key) == hashes


def test_no_plaintext_stands_in_a_report_or_a_fleet(sandbox: Sandbox) -> None:
    served = serve_new_key(sandbox)
    plaintext = sandbox.vault.read("secret", "apps/billing")["data"]["KEY"]
    sandbox.account.set_disabled(served, disabled=True)
    running = fleet(sandbox).start()
    wait_for(running, lambda report: len(report.failures) >= 1)
    report = running.stop()

    assert hashlib.sha256(plaintext.encode()).hexdigest() == served
    assert served in repr(report)
    assert plaintext not in repr(report) + repr(running) + repr(vars(running))


def test_a_consumer_that_cannot_keep_up_leaves_calls_out_and_says_so(sandbox: Sandbox) -> None:
    serve_new_key(sandbox)
    slow = Fault(kind=FaultKind.LATENCY, seconds=0.2, count=None, path="/api/v1/chat/*")
    sandbox.faults.add(slow)
    with fleet(sandbox) as running:
        report = wait_for(running, lambda report: report.calls >= 2 and report.behind > 0)

    assert report.failures == ()


def test_a_call_that_is_given_up_is_one_failure_and_the_next_call_succeeds(
    sandbox: Sandbox,
) -> None:
    serve_new_key(sandbox)
    sandbox.faults.add(Fault(kind=FaultKind.LATENCY, seconds=60, path="/api/v1/chat/*"))
    with fleet(sandbox, timeout=0.5) as running:
        report = wait_for(running, lambda report: sum(report.calls_by_key.values()) >= 2)

    assert [failure.what for failure in report.failures] == ["TimeoutError"]
