"""Twenty targets that rotate every twenty seconds while their consumers call without a pause.

`live` runs it and says what was seen: by the consumers, by a watcher over both services, and by the
proxies that count what each rotation cost.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from rotator.core.marker import parse_marker
from rotator.sandbox.consumers import ConsumerFleet, Report
from tests.end_to_end.bench import Place, eventually
from tests.end_to_end.proxy import Exchange, Proxy, digest

POLICY = {
    "every": '"20s"',
    "grace": '"5s"',
    "drain": '{ quiet_for = "2s", deadline = "60s", then = "keep" }',
    "quarantine": '"5s"',
}
QUIET_FOR = 2.0
FRESH = 2.5
"""Seconds for which a look allows a removal: half of grace and of quarantine."""
CACHE_FOR = 1.0
"""Seconds for which consumers keep a key: well within the grace period, less `QUIET_FOR`."""

WAIT = 240.0
"""Seconds that a busy machine may take longer than an idle one."""

PROVIDER_CALLS = 8
VAULT_CALLS = 18


@dataclass(frozen=True, slots=True)
class Life:
    """What one rotation cost, from due to deleted.

    Attributes:
        target: whose.
        new, old: hashes of the new key and of the one that went.
        provider, vault: the calls, as `METHOD route`.
        busy: how many looks found the old key in use.
        stale: how many calls repeated a look or read that had grown stale.
        log: all calls with their times, as lines.
    """

    target: str
    new: str
    old: str
    provider: tuple[str, ...]
    vault: tuple[str, ...]
    busy: int
    stale: int
    log: tuple[str, ...]

    @property
    def too_dear(self) -> bool:
        """Whether it cost more than it may."""
        provider = PROVIDER_CALLS + self.busy + self.stale
        vault = VAULT_CALLS + 3 * self.busy + self.stale
        return len(self.provider) > provider or len(self.vault) > vault

    def story(self) -> str:
        """The calls one by one, for the message of a failed assertion."""
        return "\n".join([self.target, *self.log])


@dataclass(slots=True)
class Seen:
    """What was seen of everything.

    Attributes:
        consumers: the consumers' report.
        orphans: enabled keys of ours that nothing accounted for.
        samples: how often it was looked for them.
        lives: every rotation that was watched from due to deleted.
        unattributed: calls that belong to no target, nor to start, login and resync.
        minted: how many keys were made.
    """

    consumers: Report
    orphans: list[str]
    samples: int
    lives: list[Life]
    unattributed: list[str]
    minted: int


@dataclass(slots=True)
class Watcher:
    """Looks, again and again, for enabled keys of ours that nothing accounts for.

    The account is listed before the ledgers and secrets are read, so that a key's claim must be
    there; one that was removed in between is no longer enabled when it is looked for again.
    """

    place: Place
    pause: float = 0.1
    stop: threading.Event = field(default_factory=threading.Event)
    orphans: list[str] = field(default_factory=list)
    samples: int = 0
    broken: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.wait(self.pause):
                self.sample()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever joins
            self.broken = error

    def sample(self) -> None:
        """Look once."""
        enabled = [key for key in self.place.minted() if key.usable]
        hashes, nonces = self.known()
        suspects = [
            key
            for key in enabled
            if key.hash not in hashes and key.marker is not None and key.marker.nonce not in nonces
        ]
        if suspects:
            still = {key.hash for key in self.place.minted() if key.usable}
            self.orphans += [f"{key.name} {key.hash}" for key in suspects if key.hash in still]
        self.samples += 1

    def known(self) -> tuple[set[str], set[str]]:
        """The hashes that are served or in a ledger, and the nonces of claims and abandoned ones."""
        hashes: set[str] = set()
        nonces: set[str] = set()
        for target in self.place.targets:
            book = self.place.ledger(target)
            served = self.place.served(target).hash
            hashes |= {served} if served else set()
            if book is None:
                continue
            hashes |= {entry["hash"] for entry in book["retiring"]}
            hashes |= {book["served"]["hash"]} if book["served"] else set()
            nonces |= set(book["abandoned"])
            pending = book["pending"]
            if pending is not None:
                nonces |= {pending["nonce"]} if pending["nonce"] else set()
                hashes |= {pending["key"]} if pending["key"] else set()
        return hashes, nonces


def live(place: Place, openrouter: Proxy, vault: Proxy, seconds: float, whole: int) -> Seen:
    """Run the daemon under consumers, then stop it and say what was seen.

    Args:
        place, openrouter, vault: with the two proxies before its services.
        seconds: so long at least.
        whole: until so many old keys of each target are gone; on a busy machine that takes longer.
    """
    daemon = place.start("run")
    eventually(lambda: all(map(place.at_rest, place.targets)), "a first key for every target", WAIT)
    fleet = ConsumerFleet(
        [place.consumer_of(target) for target in place.targets],
        openrouter_url=place.sandbox.url,
        vault_url=place.real_vault.address,
        vault_token=place.real_vault.root_token,
        cache_for=CACHE_FOR,
    )
    watcher = Watcher(place)
    thread = threading.Thread(target=watcher.run, name="watcher")
    with fleet:
        thread.start()
        over = time.monotonic() + seconds
        eventually(
            lambda: not daemon.alive() or (time.monotonic() > over and _gone(place) >= whole),
            f"{whole} whole lives of each key",
            2 * seconds + WAIT,
            pause=0.5,
        )
        done = daemon.stop(WAIT)
        watcher.stop.set()
        thread.join()
    assert done.code == 0, done.err
    if watcher.broken is not None:
        raise watcher.broken
    lives, unattributed = lives_of(place, openrouter.exchanges(), vault.exchanges())
    return Seen(
        consumers=fleet.report(),
        orphans=watcher.orphans,
        samples=watcher.samples,
        lives=lives,
        unattributed=unattributed,
        minted=len(place.minted()),
    )


def _gone(place: Place) -> int:
    """How many old keys of each target are deleted, at the least."""
    gone = Counter(
        key.marker.target for key in place.minted() if key.deleted and key.marker is not None
    )
    return min(gone[target] for target in place.targets)


# --- what a rotation cost ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Call:
    at: float
    service: str
    name: str
    exchange: Exchange


def lives_of(
    place: Place, openrouter: Iterable[Exchange], vault: Iterable[Exchange]
) -> tuple[list[Life], list[str]]:
    """Divide all calls among the rotations that they belong to.

    A life ends with the ledger's record that the old key is deleted; whatever follows belongs to
    the next one, so that no call of a target goes uncounted. A target's calls up to its first key
    are the start's.
    """
    calls: dict[str, list[_Call]] = defaultdict(list)
    unattributed: list[str] = []
    owner = {key.hash: key.marker.target for key in place.minted() if key.marker is not None}
    for service, exchanges in (("openrouter", openrouter), ("vault", vault)):
        for exchange in exchanges:
            request = exchange.request
            found = _target_of(place, service, exchange, owner)
            name = f"{request.method} {request.route}"
            if found is None:
                if not _apart(place, service, request.method, request.route):
                    unattributed.append(name)
                continue
            calls[found].append(_Call(exchange.at, service, name, exchange))
    lives = []
    for target, its in calls.items():
        its.sort(key=lambda call: call.at)
        lives += _divided(target, its)
    return lives, unattributed


def _apart(place: Place, service: str, method: str, route: str) -> bool:
    """Whether a call belongs to start, login, lease, requests or resync, which are counted apart."""
    if service == "vault":
        apart = ("/state/installation", "/state/lease", "/state/pulse")
        return not route.startswith("/v1/secret/") or route.endswith(apart)
    return (method, route) in {("GET", "/api/v1/keys"), ("GET", "/api/v1/workspaces")}


def _target_of(place: Place, service: str, exchange: Exchange, owner: dict[str, str]) -> str | None:
    """The target that a call is about."""
    request = exchange.request
    last = request.route.rpartition("/")[2]
    if service == "vault":
        return last if last in place.targets else None
    if request.method == "POST" and request.route == "/api/v1/keys":
        marker = parse_marker(request.json["name"])
        return marker.target if marker is not None else None
    if request.route == "/api/v1/key" and request.bearer is not None:
        return owner.get(digest(request.bearer))
    return owner.get(last)


def _divided(target: str, calls: list[_Call]) -> list[Life]:
    """Cut the calls of one target into lives, and leave out what is not whole."""
    ends = [
        index
        for index, call in enumerate(calls)
        if call.service == "vault"
        and call.name.startswith("POST")
        and any(earlier.name.startswith("DELETE ") for earlier in calls[max(0, index - 2) : index])
    ]
    first = next(index for index, call in enumerate(calls) if call.name == "POST /api/v1/keys")
    begin = next(
        index + 1
        for index, call in enumerate(calls)
        if index > first and call.name.startswith("POST /v1/secret/data") and _promotes(call)
    )
    lives = []
    for end in ends:
        lives.append(_life(target, calls[begin : end + 1]))
        begin = end + 1
    return lives


def _promotes(call: _Call) -> bool:
    body = call.exchange.request.json["data"]
    return bool(body.get("served")) and body.get("pending") is None


def _life(target: str, calls: list[_Call]) -> Life:
    """Count what one rotation cost."""
    made = [call for call in calls if call.name == "POST /api/v1/keys"]
    gone = [call for call in calls if call.name.startswith("DELETE ")]
    old = gone[-1].name.rpartition("/")[2]
    minted = made[0].exchange.answer
    looks = [
        call for call in calls if call.name == f"GET /api/v1/keys/{old}" and call.at > made[0].at
    ]
    changed = [call for call in calls if call.name.startswith(("PATCH ", "DELETE "))]
    return Life(
        target=target,
        new=minted.json["data"]["hash"] if minted is not None and minted.json else "",
        old=old,
        provider=tuple(call.name for call in calls if call.service == "openrouter"),
        vault=tuple(call.name for call in calls if call.service == "vault"),
        busy=sum(map(_found_busy, looks)),
        stale=sum(_grew_stale(call, calls) for call in changed),
        log=tuple(_line(call, calls[0].at) for call in calls),
    )


def _line(call: _Call, begun: float) -> str:
    """One call as a line of the life's story."""
    answer = call.exchange.answer
    status = answer.status if answer is not None else "no answer"
    return f"{call.at - begun:7.3f}  {call.name} -> {status}"


def _found_busy(look: _Call) -> bool:
    """Whether a look found the key in use, by what the answer says itself."""
    answer = look.exchange.answer
    data = answer.json["data"] if answer is not None else {}
    used = data.get("last_used_at")
    if data.get("disabled") or used is None:
        return False
    return look.at - datetime.fromisoformat(used).timestamp() < QUIET_FOR


def _grew_stale(change: _Call, calls: list[_Call]) -> bool:
    """Whether a look that allowed a change may have been too old for it, and was repeated."""
    route = change.exchange.request.route
    looks = [
        call.at
        for call in calls
        if call.name == f"GET {route}" and change.at - 30 < call.at < change.at
    ]
    return len(looks) > 1 and change.at - looks[-2] > FRESH and looks[-1] - looks[-2] < 2 * FRESH
