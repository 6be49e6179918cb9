"""Lives of a target with people's hands, deaths of the process and losses of memory in between.

After every event the planner runs until it rests; `tests.core.walk` checks each step by
what really happened, and these tests check where it rests.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rotator.core import hand_edits
from rotator.core.keys import IssuedKey
from rotator.core.ledger import Hold, Ledger
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand
from tests.core.builders import DAY, HOUR, MINUTE, NOW, h, policy, target
from tests.core.walk import Cut, World, ours

TARGET = target(policy=policy(every=10 * DAY, deadline=2 * DAY, quarantine=DAY))

GAPS = (timedelta(seconds=1), 6 * MINUTE, HOUR, 12 * HOUR, DAY + HOUR, 3 * DAY, 11 * DAY)
EVENTS = (
    "nothing",
    "die",
    "die rotating",
    "die rotating",
    "use",
    "busy hands",
    "paste back",
    "paste foreign",
    "paste by hand",
    "write other field",
    "remove field",
    "delete version",
    "undelete",
    "lose ledger",
    "restore ledger",
    "disable by hand",
    "enable by hand",
    "delete by hand",
    "rotate",
    "compromised",
    "overwrite foreign",
    "hold",
    "release",
    "retire",
)


@dataclass(frozen=True)
class Event:
    """What happens after how long, which of several it concerns, and whether a listing is made."""

    what: str
    gap: timedelta
    which: int
    listing: bool


events = st.lists(
    st.builds(
        Event,
        what=st.sampled_from(EVENTS),
        gap=st.sampled_from(GAPS),
        which=st.integers(0, 7),
        listing=st.booleans(),
    ),
    max_size=30,
)


def born() -> World:
    """A world in which nothing happened yet."""
    return World(TARGET)


class Life:
    """A world, with what is needed to disturb it."""

    def __init__(self) -> None:
        """Begin with an empty account."""
        self.world = born()
        self.ledgers: list[Ledger] = []

    def one(self, which: int) -> str | None:
        """Some key of the account, or None where there is none."""
        hashes = sorted(self.world.keys)
        return hashes[which % len(hashes)] if hashes else None

    def happen(self, event: Event) -> None:
        """Let time pass, disturb the world, and let the planner run until it rests."""
        world = self.world
        world.tick(event.gap)
        world.demand, world.steps_left = None, None
        self.disturb(event)
        with suppress(Cut):
            world.run(listing=event.listing)
        if world.ledger is not None:
            self.ledgers.append(world.ledger)

    def disturb(self, event: Event) -> None:
        """Do what the event says, where it can be done."""
        world, key = self.world, self.one(event.which)
        match event.what:
            case "die":
                world.steps_left = event.which
            case "die rotating":
                world.demand = Demand()
                world.steps_left = event.which
            case "paste back" if key is not None:
                world.write_secret(key)
            case "busy hands" if key is not None and world.live:
                before = world.value
                for digest in (key, *[before] * event.which * 4):
                    world.write_secret(digest)
            case "use" if key is not None:
                world.keys[key] = replace(world.keys[key], last_used_at=world.now)
            case "paste foreign":
                world.write_secret(h("nobody's"))
            case "paste by hand":
                made = h(f"by hand {event.which}")
                world.keys[made] = IssuedKey(made, "by hand", disabled=False, created_at=world.now)
                world.write_secret(made)
            case "write other field" if world.live:
                world.write_secret(world.value)
            case "remove field" if world.live:
                world.write_secret(None)
            case "delete version" if world.live:
                world.tick()
                world.versions[-1] = replace(world.versions[-1], readable=False)
            case "undelete" if world.versions:
                world.versions[-1] = replace(world.versions[-1], readable=True)
            case "disable by hand" | "enable by hand" if key is not None:
                off = event.what == "disable by hand"
                world.keys[key] = replace(world.keys[key], disabled=off)
                (world.hands_on.add if off else world.hands_on.discard)(key)
            case "delete by hand" if key is not None:
                del world.keys[key]
            case _:
                self.command(event)

    def command(self, event: Event) -> None:
        """Do what an operator's command, or an accident of the ledger, does."""
        world = self.world
        match event.what:
            case "rotate":
                world.demand = Demand()
            case "compromised":
                world.demand = Demand(named=False, compromised=True)
            case "overwrite foreign":
                world.demand = Demand(overwrite_foreign=True)
            case "lose ledger":
                world.write_ledger(None)
                world.memory_lost = True
            case "restore ledger" if self.ledgers:
                world.write_ledger(self.ledgers[-1 - event.which % len(self.ledgers)])
                world.memory_lost = True
            case "hold" if world.ledger is not None:
                world.record(hand_edits.SetHold(Hold(Reason.HELD, "why", "ops", world.now)))
            case "release" if world.ledger is not None:
                world.record(hand_edits.Release())
            case "retire" if world.ledger is not None:
                hashes = frozenset(each.hash for each in world.ledger.retiring)
                world.record(hand_edits.RetireByHand(hashes))
            case _:
                pass


def lived(story: list[Event]) -> World:
    """The world after a story, with time for every claim to expire and a last resync."""
    life = Life()
    life.happen(Event("nothing", timedelta(), 0, listing=False))
    for event in story:
        life.happen(event)
    life.happen(Event("nothing", HOUR, 0, listing=True))
    return life.world


calm = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@calm
@given(events)
def test_whatever_happens_the_planner_comes_to_rest_and_what_it_remembers_is_so(
    story: list[Event],
) -> None:
    world = lived(story)
    assert not world.run(listing=True).steps
    book = world.ledger
    assert book is not None
    assert book.pending is None
    if book.served is not None:
        assert book.served.value_sha256 == world.value
    elif world.value is not None:
        assert book.foreign is not None


@calm
@given(events)
def test_whatever_happens_no_key_of_ours_is_forgotten(story: list[Event]) -> None:
    world = lived(story)
    assert world.ledger is not None
    forgotten = [each for each in ours(world) if not world.ledger.knows(each.hash)]
    assert not forgotten


@calm
@given(events)
def test_whatever_happens_what_is_served_is_enabled_unless_a_person_disabled_it(
    story: list[Event],
) -> None:
    world = lived(story)
    key = world.keys.get(world.value or "")
    if key is not None and key.disabled and not world.memory_lost:
        assert key.hash in world.hands_on


def test_an_undisturbed_year_serves_a_young_key_all_along_and_leaves_nothing_behind() -> None:
    world = born()
    world.run()
    while world.now < NOW + 365 * DAY:
        world.tick(6 * HOUR)
        world.run()
        served = world.keys[world.value or ""]
        assert served.created_at is not None
        assert world.now - served.created_at <= 10 * DAY + 6 * HOUR
        assert not served.disabled
    assert world.done.count("Mint") == 37
    assert len(world.keys) <= 2
    assert world.done.count("Disable") - world.done.count("Delete") <= 1
