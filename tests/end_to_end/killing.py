"""One rotation whose process is ended by SIGKILL at one of its steps, and what comes of it.

Nothing is due until all is ready for it, and nothing more once another key is served: however slow
the machine is, no other rotation is under way when everything is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rotator.sandbox.consumers import ConsumerFleet, Report
from tests.end_to_end.bench import Done, Place, eventually, left_open
from tests.end_to_end.proxy import Guillotine, Proxy, Request, honest

TARGET = "billing"
CALM, DUE = '"1h"', '"4s"'
POLICY = {
    "every": CALM,
    "grace": '"2s"',
    "drain": '{ quiet_for = "1s", deadline = "60s", then = "keep" }',
    "quarantine": '"1s"',
}
DAEMON = {"claim_timeout": '"12s"', "resync": '"3s"', "heartbeat": '"1s"', "lease": '"6s"'}
TIMEOUT = "3s"
WITHIN = 240.0
"""Seconds that anything may take on a busy machine; on an idle one it takes a tenth of that."""
PAUSE = 0.3
"""Seconds between two looks: many such rotations are under way side by side."""

STEPS = (
    "claim the rotation",
    "mint",
    "verify",
    "publish",
    "promote",
    "claim the disable",
    "disable",
    "record the disable",
    "claim the delete",
    "delete",
    "record the delete",
)
"""Every step of a rotation that changes something or that proves the new key, in order."""

CLAIMS = {"rotate": "claim the rotation", "disable": STEPS[5], "delete": STEPS[8]}


class Steps:
    """Names the step that a call is; what a ledger records is told from the version before."""

    def __init__(self, place: Place) -> None:
        self._management_key = place.sandbox.management_key
        self._before = place.ledger(TARGET) or {}

    def __call__(self, request: Request) -> str | None:
        """Return the step, or None for a call that changes nothing."""
        match request.method, request.route.split("/")[1:]:
            case "POST", ["api", "v1", "keys"]:
                return "mint"
            case "PATCH", ["api", "v1", "keys", _]:
                return "disable" if request.json["disabled"] else "enable"
            case "DELETE", ["api", "v1", "keys", _]:
                return "delete"
            case "GET", ["api", "v1", "key"]:
                return None if request.bearer == self._management_key else "verify"
            case "POST" | "PUT", ["v1", "secret", "data", _, "apps", _]:
                return "publish"
            case "POST" | "PUT", ["v1", "secret", "data", _, "state", "targets", _]:
                return self._recorded(request.json["data"])
        return None

    def _recorded(self, book: dict[str, Any]) -> str | None:
        before, self._before = self._before, book
        if book["pending"] is not None:
            kind = book["pending"]["kind"]
            return CLAIMS.get(kind, f"claim the {kind}")
        if book["served"]["hash"] != before["served"]["hash"]:
            return "promote"
        if len(book["retiring"]) < len(before["retiring"]):
            return "record the delete"
        if _disabled(book) > _disabled(before):
            return "record the disable"
        return None  # a look at a key that is still used


def _disabled(book: dict[str, Any]) -> int:
    return sum(entry["disabled_at"] is not None for entry in book["retiring"])


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What there was to be seen in the end.

    Attributes:
        seen: the steps of the process that was killed, each once, the fatal one last.
        first, served: hashes of the key served before the rotation and in the end.
        problems: what is not as it must be at rest.
        consumers: the consumers' report.
        stopped: how the second process ended.
        audit: the audit trail.
        story: what all processes said.
    """

    seen: tuple[str, ...]
    first: str | None
    served: str | None
    problems: tuple[str, ...]
    consumers: Report
    stopped: Done
    audit: Path
    story: str


def rotate_and_kill(
    place: Place, openrouter: Proxy, vault: Proxy, step: str | None, after: bool
) -> Aftermath:
    """Let a daemon begin a rotation, kill it at a step, start it again, let it rest.

    Args:
        place: with the two proxies before its services.
        openrouter, vault: the proxies.
        step: the step; None lets the rotation end.
        after: whether the server acts before the process dies, and only its answer is lost.
    """
    daemon = place.start("run")
    _come(lambda: place.at_rest(TARGET), "a first key")
    first = place.served(TARGET).hash
    blade = Guillotine(Steps(place), step, after, daemon.kill)
    openrouter.meddle = vault.meddle = blade
    place.configure(every=DUE)
    daemon.reload(WITHIN)
    with ConsumerFleet(
        [place.consumer_of(TARGET)],
        openrouter_url=place.sandbox.url,
        vault_url=place.real_vault.address,
        vault_token=place.real_vault.root_token,
        rate=5,
        cache_for=0.3,
    ) as fleet:

        def rotated() -> bool:
            return place.served(TARGET).hash != first

        _come(lambda: blade.fell or rotated(), "another key, or the fatal step")
        if rotated():
            place.configure(every=CALM)
            daemon.reload(WITHIN)
        if step is not None:
            _come(lambda: blade.fell and not daemon.alive(), "the fatal step")
            openrouter.meddle = vault.meddle = honest
            due = not rotated()
            place.configure(every=DUE if due else CALM)
            daemon = place.start("run")
            _come(rotated, "another key")
            if due:
                place.configure(every=CALM)
                daemon.reload(WITHIN)
        _come(lambda: place.at_rest(TARGET) and not place.not_clean(TARGET), "a clean end")
        served, problems = place.served(TARGET).hash, place.not_clean(TARGET)
        _come(lambda: not left_open(place.audit), "an outcome for every intent")
        stopped = daemon.stop(WITHIN)
    return Aftermath(
        seen=tuple(dict.fromkeys(blade.seen)),
        first=first,
        served=served,
        problems=tuple(problems),
        consumers=fleet.report(),
        stopped=stopped,
        audit=place.audit,
        story=place.story(),
    )


def _come(probe: Callable[[], bool], what: str) -> None:
    eventually(probe, what, WITHIN, pause=PAUSE)
