"""Two daemons of one installation in this process: one acts, the other is ready and asks nobody."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.codec import encode_document
from rotator.core.lease import SCHEMA, Open
from rotator.core.request import Arguments, Verb
from rotator.daemon import Daemon
from rotator.daemon.shared import Role
from rotator.engine.asking import Asking, Wish
from rotator.engine.lease import DOCUMENT, read_lease
from rotator.engine.pulse import name_in_pulse, read_pulse
from rotator.errors import CheckAndSetConflict
from rotator.sandbox.faults import Fault, FaultKind
from tests.daemon.living import running, settled, swept
from tests.daemon.test_loop import Settable
from tests.wiring.stand import CALM, Stand, eventually


def acts(daemon: Daemon) -> bool:
    return daemon.status().role is Role.ACTING


def leases(stand: Stand) -> int:
    """How often the lease was read or written."""
    return sum(each.path.endswith("/lease") for each in stand.sandbox.calls.last())


def give_lease_to(daemon: Daemon) -> None:
    """Write the lease as another's, as happens to a process that was paused."""
    world = daemon.world()
    assert world is not None
    while True:
        seen = read_lease(world.ledgers)
        assert seen.lease is not None
        document = encode_document(replace(seen.lease, holder=daemon.holder), SCHEMA)
        with suppress(CheckAndSetConflict):
            world.ledgers.write(DOCUMENT, document, seen.version)
            return


def pulses(stand: Stand) -> int:
    """How often the pulse was read or written."""
    return sum(each.path.endswith("/pulse") for each in stand.sandbox.calls.last())


def test_one_that_stands_by_is_ready_asks_openrouter_nothing_and_reads_only_the_lease(
    stand: Stand,
) -> None:
    stand.write(policy=CALM)
    with running(stand) as leader:
        settled(leader, "billing-api")
        eventually(lambda: leader.status().resync is not None, "the resync is over")
        stand.sandbox.calls.reset()
        with running(stand) as standby:
            eventually(lambda: standby.status().role is Role.STANDBY, "it stands by")
            assert standby.status().ready
            assert standby.status().leader == leader.holder
            eventually(lambda: leases(stand) > 5, "renewals and looks")
            assert standby.reports() == {}
            assert stand.sandbox.calls.count("openrouter") == 0
        assert acts(leader)


def test_a_lease_given_up_at_a_stop_is_taken_by_the_one_that_stands_by(stand: Stand) -> None:
    stand.write(policy=CALM)
    with running(stand) as first:
        settled(first, "billing-api")
        with running(stand) as second:
            eventually(lambda: second.status().role is Role.STANDBY, "it stands by")
            first.stop()
            eventually(lambda: acts(second), "the second acts")
            settled(second, "billing-api")
            assert second.status().leader is None


def test_without_a_lease_two_daemons_act(stand: Stand) -> None:
    stand.write(policy=CALM)
    text = stand.path.read_text().replace('lease = "2s"', 'lease = "0s"')
    stand.path.write_text(text)
    with running(stand) as one:
        settled(one, "billing-api")
        with running(stand) as two:
            settled(two, "billing-api")
            assert acts(one)
            assert acts(two)
    assert len(stand.issued()) == 1
    assert not any(each.path.endswith(("lease", "pulse")) for each in stand.sandbox.calls.last())


def test_a_request_that_the_pulse_does_not_name_is_found_by_the_next_resync(stand: Stand) -> None:
    stand.write(policy=CALM, daemon='resync = "1s"')
    with running(stand) as daemon:
        settled(daemon, "billing-api")
        before = stand.served()
        world = daemon.world()
        assert world is not None
        (target,), term = daemon.config.targets, daemon.config.daemon.lease
        wish = Wish(Verb.ROTATE, Arguments(), "me@here", 600.0)
        assert Asking(world, target, wish, term, lambda _: None).place_now()
        eventually(lambda: stand.served() != before, "it is rotated")
    done = [each for each in stand.events() if each["event"] == "operator.command"]
    assert [each["by"] for each in done] == ["me@here"]


def test_a_request_that_is_written_while_its_target_is_looked_at_is_seen_all_the_same(
    stand: Stand,
) -> None:
    """The ledger of that look was read before; its end must not count as a look at the request."""
    stand.write(policy=CALM)
    clock = Settable()
    with running(stand, clock) as daemon:
        eventually(lambda: daemon.status().resync is not None, "the resync is over")
        before = stand.served()
        world = daemon.world()
        assert world is not None
        slow = stand.sandbox.faults.add(
            Fault(kind=FaultKind.LATENCY, api="vault", path="*/metadata/apps/*", seconds=60.0)
        )
        clock.step = timedelta(seconds=30)  # it looks at every target again
        eventually(lambda: stand.sandbox.faults.hits(slow), "the ledger was read")
        (target,), term = daemon.config.targets, daemon.config.daemon.lease
        wish = Wish(Verb.ROTATE, Arguments(compromised=True), "me@here", 600.0)
        asking = Asking(world, target, wish, term, lambda _: None)
        assert asking.place_now()
        asking.announce()
        stand.sandbox.calls.reset()
        eventually(lambda: pulses(stand) > 1, "the pulse was looked at")
        stand.sandbox.faults.clear()
        eventually(lambda: stand.served() != before, "it is rotated")
        eventually(lambda: read_pulse(world.ledgers).requests == (), "the request is struck")


def test_a_request_for_all_before_it_is_known_who_acts_reaches_the_one_that_does(
    stand: Stand,
) -> None:
    stand.write(policy=CALM)
    with running(stand) as leader:
        settled(leader, "billing-api")
        before = stand.served()
        away = stand.sandbox.faults.add(
            Fault(kind=FaultKind.LATENCY, api="vault", method="GET", path="*/lease", seconds=60.0)
        )
        with running(stand) as standby:
            eventually(lambda: standby.status().ready, "Vault was reached")
            assert standby.status().role is Role.UNKNOWN
            standby.rotate_all()
            eventually(lambda: standby.status().requests, "it waits")
            eventually(lambda: stand.sandbox.faults.hits(away), "it has asked whose the lease is")
            stand.sandbox.faults.clear()
            eventually(lambda: stand.served() != before, "the leader has rotated")
            assert standby.status().role is Role.STANDBY
            eventually(lambda: not standby.status().requests, "nothing is left")
    assert len(stand.issued()) == 2


def test_what_one_was_asked_for_is_passed_on_when_another_acts_in_its_place(stand: Stand) -> None:
    stand.write(policy=CALM)
    with running(stand) as first:
        settled(first, "billing-api")
        before = stand.served()
        with running(stand) as second:
            eventually(lambda: second.status().role is Role.STANDBY, "it stands by")
            refused = stand.sandbox.faults.add(
                Fault(kind=FaultKind.RATE_LIMIT, api="openrouter", method="POST", count=None)
            )
            swept(first, stand)
            eventually(lambda: stand.sandbox.faults.hits(refused), "no key can be made")
            give_lease_to(second)
            eventually(lambda: not first.status().requests, "it is passed on")
            eventually(lambda: acts(second), "the second acts")
            stand.sandbox.faults.clear()
            eventually(lambda: stand.served() != before, "it is rotated", 90)
            assert first.status().role is Role.STANDBY
    assert len(stand.issued()) == 2


def test_a_pulse_full_of_names_that_nobody_configured_is_told_of_in_one_line_and_emptied(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.write(policy=CALM)
    with running(stand) as daemon:
        settled(daemon, "billing-api")
        world = daemon.world()
        assert world is not None
        many = tuple(Open(f"nobody-{number}", "ab") for number in range(3000))
        name_in_pulse(world.ledgers, world.clock, many)
        eventually(lambda: read_pulse(world.ledgers).requests == (), "they are struck")
    lines = [each for each in caplog.messages if "not configured" in each]
    assert len(lines) <= 2
    assert all(len(line) < 500 for line in lines)
    assert "nobody-0" in lines[0]
    assert "3000" in lines[0]
