"""What a process knows of all its targets together."""

from __future__ import annotations

from rotator.engine.world import Fleet

ONE, TWO = "1" * 64, "2" * 64


def test_the_index_of_served_hashes_follows_each_target() -> None:
    fleet = Fleet()
    fleet.serves("a", ONE)
    fleet.serves("b", ONE)
    assert fleet.others_serving(ONE) == {"a", "b"}
    fleet.serves("a", TWO)
    assert fleet.served_by() == {ONE: frozenset({"b"}), TWO: frozenset({"a"})}
    fleet.serves("a", None)
    fleet.forget("b")
    fleet.forget("never seen")
    assert fleet.served_by() == {}
    assert fleet.others_serving(ONE) == frozenset()


def test_a_target_that_is_not_configured_is_in_the_index_no_longer_than_to_the_next_look() -> None:
    """A pass of a former name may end before all were looked at under the new one, or after."""
    fleet = Fleet()
    fleet.serves("old", ONE)
    fleet.forget("old")
    fleet.unfill()
    fleet.serves("old", ONE)
    fleet.serves("new", ONE)
    assert fleet.others_serving(ONE) == {"old", "new"}, "it is not known yet which are configured"
    fleet.fill(["new"], fleet.term())
    assert fleet.served_by() == {ONE: frozenset({"new"})}
    fleet.serves("old", ONE)
    assert fleet.served_by() == {ONE: frozenset({"new"})}
    assert fleet.filled()


def test_what_was_handed_out_does_not_change_afterwards() -> None:
    fleet = Fleet()
    fleet.serves("a", ONE)
    before = fleet.served_by()
    fleet.serves("b", ONE)
    assert before == {ONE: frozenset({"a"})}


def test_the_dead_are_counted_afresh_by_a_resync() -> None:
    fleet = Fleet()
    fleet.died("a")
    fleet.died("b")
    fleet.lives("a")
    assert fleet.dead() == {"b"}
    fleet.begin_resync(frozenset({"c"}))
    assert fleet.dead() == {"c"}
    fleet.lives("nobody")
    assert fleet.dead() == {"c"}


def test_changes_are_stopped_and_allowed_again() -> None:
    fleet = Fleet()
    assert fleet.refused() is None
    fleet.refuse("401")
    assert fleet.refused() == "401"
    fleet.refuse(None)
    assert fleet.refused() is None


def test_a_finding_is_reported_once_until_it_is_over() -> None:
    fleet = Fleet()
    assert fleet.first_report("a", "blocked", ONE)
    assert not fleet.first_report("a", "blocked", ONE)
    assert fleet.first_report("a", "blocked", TWO)
    assert fleet.first_report("b", "blocked", ONE)
    fleet.report_over("a", frozenset({("blocked", TWO)}))
    assert fleet.first_report("a", "blocked", ONE)
    assert not fleet.first_report("a", "blocked", TWO)
    assert not fleet.first_report("b", "blocked", ONE)


def test_what_was_read_before_the_last_of_several_unfills_does_not_count() -> None:
    fleet = Fleet()
    for _ in range(3):
        term = fleet.term()
        fleet.unfill()
        fleet.fill(["app"], term)
        assert fleet.unseen() is None
    fleet.fill(["app"], fleet.term())
    assert fleet.unseen() == frozenset({"app"})
    assert fleet.unseen("app") == frozenset()


def test_a_target_that_was_dropped_must_be_looked_at_where_it_is_configured_anew() -> None:
    fleet = Fleet()
    fleet.forget("app")
    fleet.fill(["app"])
    assert fleet.unseen() == frozenset({"app"})
    assert not fleet.filled()
