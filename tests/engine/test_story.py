"""What is done in which order, and what the audit trail tells of it: whole stories, line by line.

Every intent stands before the call that it announces, every outcome after it, and each names its
change, its reason and its key. The stories stand in ``stories.txt``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from rotator.core.keys import NewKey
from rotator.core.snapshot import Demand, Rollback
from rotator.engine import operate
from rotator.engine.resync import settle_interrupted
from rotator.events import Event, LedgerChange, Phase
from rotator.secret import Secret
from tests.engine.lab import CLAIM_TIMEOUT, PATH, Lab, target
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind, nth

STORIES = Path(__file__).with_name("stories.txt").read_text(encoding="utf-8")

_SHOWN = ("phase", "name", "op", "reason", "result", "target", "key_name")


class Storyteller:
    """Tells what a lab did since the last time that it was asked, a line for each event and call.

    The keys are named in the order of their making, and changes in the order of their first event,
    since hashes and drawn numbers tell a reader nothing.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._calls = self._events = 0

    def tell(self) -> str:
        """Return the events, and set in, the calls to the other services."""
        calls = self._lab.faults.calls[self._calls :]
        events = iter(self._lab.trail.lines[self._events :])
        self._calls, self._events = len(self._lab.faults.calls), len(self._lab.trail.lines)
        changes: dict[str, str] = {}
        told = [
            self._line(next(events)[1], changes) if call == "audit.append" else f"    {call}"
            for call in calls
        ]
        assert not list(events)
        return "\n".join(told)

    def _line(self, event: Event, changes: dict[str, str]) -> str:
        change, _, step = event.op.partition("/")
        letter = changes.setdefault(change, chr(ord("a") + len(changes)))
        parts = [str(event.phase), event.name, f"{letter}/{step}", str(event.reason or "-")]
        parts += [str(event.result)] if event.result is not None else []
        usual = None if event.name == "resync" else "app"
        parts += [f"of {event.target}"] if event.target != usual else []
        for each in fields(event):
            value = getattr(event, each.name)
            if each.name not in _SHOWN and value is not None:
                parts.append(f"{each.name}={value}")
        line = " ".join(parts)
        for number in range(1, self._lab.account.minted + 1):
            line = line.replace(plaintext(number).sha256(), f"key{number}")
        return line


def plaintext(number: int) -> Secret:
    """The plaintext of the key that the account made as the first, the second…"""
    return Secret(f"sk-or-v1-{number:064x}")


def story(title: str) -> str:
    """Return a story of the file."""
    found = re.search(
        rf"^== {re.escape(title)}\n(.*?)(?=^== |\Z)", STORIES, re.MULTILINE | re.DOTALL
    )
    return found[1].strip("\n") if found is not None else ""


def paste(lab: Lab, value: object) -> None:
    """Somebody writes a value into the target's field."""
    lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: value})


def value_of(lab: Lab) -> object:
    """The value that is served."""
    return (lab.vault.current(PATH) or {})[FIELD]


def wait(lab: Lab, hours: float, minutes: float = 1) -> None:
    lab.clock.advance(timedelta(hours=hours, minutes=minutes))


def refusing(call: str) -> Callable[[str, str, bool], Kind | None]:
    """A choice for `Faults.choose`: this call is refused, each time."""
    return lambda service, name, _: Kind.REFUSED if f"{service}.{name}" == call else None


def a_life(lab: Lab) -> Iterator[str]:
    """A first key, its replacement, its end."""
    lab.run()
    yield "a first key"
    wait(lab, 12)
    lab.run()
    yield "its replacement"
    wait(lab, 1)
    lab.run()
    yield "the first one disabled"
    wait(lab, 2)
    lab.run()
    yield "and deleted"


def a_rollback(lab: Lab) -> Iterator[str]:
    """An operator goes back to a key that is disabled already."""
    lab.run()
    first = lab.served_hash()
    wait(lab, 12)
    lab.run()
    wait(lab, 1)
    lab.run()
    yield "-"
    lab.run(demand=Demand(rollback=Rollback(first)))
    yield "back to a disabled key"


def deaths(lab: Lab) -> Iterator[str]:
    """A process dies at the calls that matter, and the next one takes its claim over."""
    lab.run()
    for call, kind, told in (
        ("openrouter.create", Kind.DIE_BEFORE, "died before the key was made"),
        ("openrouter.create", Kind.DIE_AFTER, "died after the key was made"),
        ("vault.write", Kind.DIE_AFTER, "died after the key was published"),
    ):
        wait(lab, 12)
        yield "-"
        lab.faults.choose = nth(call, 1, kind)
        lab.run()
        lab.clock.advance(CLAIM_TIMEOUT + timedelta(seconds=2))
        lab.run(full=True)
        yield told
        lab.live(timedelta(hours=9))


def deaths_of_a_removal(lab: Lab) -> Iterator[str]:
    """A process dies while it removes an old key, and the next one finds what came of it."""
    lab.run()
    wait(lab, 12)
    lab.run()
    wait(lab, 1)
    for call in ("openrouter.disable", "openrouter.delete"):
        yield "-"
        lab.faults.choose = nth(call, 1, Kind.DIE_AFTER)
        lab.run()
        lab.clock.advance(CLAIM_TIMEOUT + timedelta(seconds=2))
        lab.run(full=True)
        yield f"died after {call}"
        wait(lab, 2)


def hands(lab: Lab) -> Iterator[str]:
    """People write the field in the middle of a step, and while nobody looks."""
    lab.run()
    first = value_of(lab)
    lab.excused.add(lab.served_hash() or "")
    wait(lab, 12)
    lab.run()
    lab.excused.add(lab.served_hash() or "")
    wait(lab, 1)
    yield "-"
    before_each, pasted = lab.faults.before_each, list[str]()

    def paste_it(service: str, name: str, acts: bool) -> None:
        if name == "read" and lab.faults.calls[-2] == "openrouter.disable":
            pasted.append(name)
            paste(lab, first)
        before_each(service, name, acts)

    lab.faults.before_each = paste_it
    lab.run()
    assert pasted
    yield "an old value pasted back while its key is disabled"
    wait(lab, 1)
    lab.account.set_disabled(lab.served_hash() or "", disabled=True)
    lab.run(full=True)
    yield "and disabled again, as by a call of ours that lands late"
    paste(lab, "something else")
    lab.excused.add(lab.served_hash() or "")
    lab.run(full=True)
    yield "a value that nobody knows"
    lab.run(full=True)
    yield "and is told of once"


def hands_in_quarantine(lab: Lab) -> Iterator[str]:
    """The value of a disabled key is pasted back."""
    lab.run()
    first, first_hash = value_of(lab), lab.served_hash()
    wait(lab, 12)
    lab.run()
    wait(lab, 1)
    lab.run()
    lab.excused.add(first_hash or "")
    paste(lab, first)
    yield "-"
    lab.run(full=True)
    yield "the value of a disabled key pasted back"


def adoption(lab: Lab) -> Iterator[str]:
    """A key that was made by hand is served before anything was managed."""
    minted = lab.account.make(NewKey("made by hand"))
    paste(lab, minted.secret.reveal())
    lab.run()
    yield "a key made by hand"
    wait(lab, 12)
    lab.run()
    yield "and its replacement"


def refusals(lab: Lab) -> Iterator[str]:
    """OpenRouter or Vault says no in the middle of a rotation."""
    lab.run()
    for call, told in (
        ("openrouter.create", "a create that is refused"),
        ("openrouter.whoami", "a new key that is refused for minutes"),
        ("vault.write", "a publish that is refused"),
    ):
        wait(lab, 12)
        yield "-"
        lab.faults.choose = refusing(call)
        lab.run()
        yield told
        lab.faults.choose = lambda *_: None
        lab.live(timedelta(hours=9))


def commands(lab: Lab) -> Iterator[str]:
    """An operator holds, releases and retires; an intent that nobody settles is closed."""
    lab.run()
    wait(lab, 12)
    lab.run()
    yield "-"
    operate.hold(lab.world, lab.targets[0], why="audit week", by="me@here")
    operate.release(lab.world, lab.targets[0], by="me@here")
    yield "hold and release"
    book = lab.ledger()
    assert book is not None
    lab.excused.update(each.hash for each in book.retiring)
    operate.retire(lab.world, lab.targets[0], key=None, by="me@here")
    lab.run()
    yield "retire"
    lab.trail.add(
        LedgerChange(phase=Phase.INTENT, op="x/look", target="app", change="look", base_version=3)
    )
    lab.faults.calls.append("audit.append")
    wait(lab, 1)
    settle_interrupted(lab.world, lab.targets)
    yield "an intent that nobody settles"


def leaving(lab: Lab) -> Iterator[str]:
    """A target moves to another secret, and is taken out of the configuration."""
    lab.run()
    wait(lab, 12)
    lab.run()
    yield "-"
    lab.vault.put("secret/moved", {"OTHER": "stays"})
    lab.targets = (target(path="secret/moved"),)
    lab.began.clear()
    lab.run(full=True)
    yield "moved to another secret"
    lab.vault.put("secret/other", {"OTHER": "stays"})
    lab.targets = (target("other", path="secret/other"),)
    wait(lab, 1)
    lab.run(full=True)
    yield "taken out of the configuration"


@pytest.mark.parametrize(
    "life",
    [
        a_life,
        a_rollback,
        deaths,
        deaths_of_a_removal,
        hands,
        hands_in_quarantine,
        adoption,
        refusals,
        commands,
        leaving,
    ],
    ids=lambda life: life.__name__,
)
def test_a_story_goes_as_it_is_written_down(life: Callable[[Lab], Iterator[str]]) -> None:
    lab = Lab()
    teller = Storyteller(lab)
    for title in life(lab):
        told = teller.tell()
        if title != "-":  # how it comes to that is told elsewhere
            assert told == story(title)
