"""Services that are away, or answer with something else: a cause in one line, and no harm done."""

from __future__ import annotations

from collections.abc import Callable

from tests.end_to_end.bench import Place, eventually
from tests.end_to_end.proxy import Answer, Forward, Proxy, Request

POLICY = {
    "every": '"1h"',
    "grace": '"1s"',
    "drain": '{ quiet_for = "1s", deadline = "20s", then = "disable", evidence = "usage" }',
    "quarantine": '"1s"',
}


def test_a_rotation_on_demand_whose_key_is_not_accepted_makes_one_key_and_removes_it(
    make_place: Callable[..., Place],
) -> None:
    def nobody_is_known(request: Request, forward: Forward) -> Answer | None:
        if request.route == "/api/v1/key":
            return Answer(
                500, {"Content-Type": "application/json"}, b'{"error": {"message": "no"}}'
            )
        return forward()

    place = make_place(policy=POLICY, daemon={"claim_timeout": '"4s"'}, timeout="1s")
    with Proxy(place.openrouter) as openrouter:
        place.openrouter = openrouter.url
        assert place.run("run", "--once").code == 0
        before = place.served("billing")
        openrouter.meddle = nobody_is_known
        done = place.run("rotate", "billing", "--timeout", "1s", "--json")
    assert (done.code, done.json["targets"][0]["reason"]) == (1, "outage")
    assert place.served("billing") == before
    made = [key for key in place.minted() if key.hash != before.hash]
    assert [key.deleted for key in made] == [True]
    assert place.not_clean("billing")[:1] == []
