"""What a snapshot says of itself."""

from __future__ import annotations

from rotator.core.snapshot import ValueSeen
from rotator.core.target import KeySettings
from tests.core.builders import (
    ABSENT,
    DELETED,
    FOREIGN,
    HOUR,
    MINUTE,
    NOW,
    ODD,
    A,
    B,
    claim,
    issued,
    ledger,
    listing,
    looks,
    marked,
    retiring,
    seen,
    served,
    snapshot,
    target,
    without_ledger,
)


def test_a_version_has_moved_by_number_by_time_or_by_what_it_holds() -> None:
    assert not snapshot().version_moved()
    assert not snapshot(secret=seen(3, A)).version_moved()
    assert snapshot(secret=seen(4)).version_moved()
    assert snapshot(secret=seen(3, created_time=NOW)).version_moved()
    assert snapshot(secret=seen(3, B)).version_moved()


def test_a_foreign_value_has_moved_by_number_or_time() -> None:
    book = ledger(served=None, foreign=FOREIGN)
    assert not snapshot(book).version_moved()
    assert snapshot(book, secret=seen(4)).version_moved()


def test_where_nothing_is_remembered_any_live_version_is_news() -> None:
    book = ledger(served=None)
    assert snapshot(book).version_moved()
    assert not snapshot(book, secret=DELETED).version_moved()


def test_a_value_is_absent_only_where_the_field_holds_nothing_at_all() -> None:
    assert ABSENT.absent
    assert not ODD.absent
    assert not ValueSeen(A).absent


def test_waits_begin_by_the_later_clock_and_end_by_the_earlier() -> None:
    observed = snapshot(vault_now=NOW - HOUR)
    assert (observed.safe_now(NOW), observed.late_now(NOW)) == (NOW - HOUR, NOW)
    assert observed.clocks_disagree(NOW)
    assert not observed.clocks_disagree(NOW - HOUR + 5 * MINUTE)


def test_a_look_of_this_pass_weighs_more_than_a_listing() -> None:
    observed = snapshot(looks=looks(gone=(A,)), listing=listing(issued(A), issued(B)))
    gone, listed = observed.look(A), observed.look(B)
    assert gone is not None
    assert gone.key is None
    assert listed is not None
    assert listed.key == issued(B)
    assert snapshot().look(A) is None


def test_a_marker_counts_for_this_installation_and_target_only() -> None:
    assert snapshot().marker_of(issued(A)) is not None
    for name in ("by hand", marked(target="payroll"), marked(installation="f" * 16)):
        assert snapshot().marker_of(issued(A, name=name)) is None


def test_another_target_serves_a_key_where_one_other_than_this_is_named() -> None:
    observed = snapshot(served_by={A: frozenset({"billing", "payroll"})})
    assert observed.served_elsewhere(A) == {"payroll"}
    assert observed.served_elsewhere(B) == frozenset()


def test_a_target_is_in_each_workspace_that_its_configuration_or_ledger_names() -> None:
    billing = target(key=KeySettings(workspace_id="configured"))
    assert without_ledger(target=billing).workspaces() == {"configured"}
    book = ledger(
        served=served(workspace="served"),
        retiring=(retiring(workspace="old"), retiring(workspace=None)),
        pending=claim(workspace="claimed"),
    )
    named = {"configured", "served", "old", "claimed"}
    assert snapshot(book, target=billing).workspaces() == named
    assert snapshot(ledger(served=None)).workspaces() == frozenset()
