"""Commands by hand on the targets of a living daemon."""

from __future__ import annotations

from collections.abc import Callable

from tests.end_to_end.bench import Place, eventually

POLICY = {
    "every": '"1h"',
    "grace": '"1s"',
    "drain": '{ quiet_for = "1s", deadline = "20s", then = "disable", evidence = "usage" }',
    "quarantine": '"1s"',
}


def test_probe(make_place: Callable[..., Place]) -> None:
    place = make_place(policy=POLICY, daemon={"resync": '"2s"'})
    daemon = place.start("run")
    eventually(lambda: place.at_rest("billing"), "a first key")
    done = place.run("rotate", "billing", "--json")
    print(done)
    assert done.code == 0
    eventually(lambda: place.at_rest("billing"), "rest")
    stopped = daemon.stop()
    print(stopped)
    assert stopped.code == 0
    assert place.not_clean("billing") == []
