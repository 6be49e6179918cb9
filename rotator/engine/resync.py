"""The full comparison of account, configuration and ledgers: at start, and every `resync`.

One listing serves all targets. It finds keys of ours that no ledger knows, served
keys that died, foreign keys, and ledgers of targets that are configured no more; and
it fills the index of served hashes, without which nothing is disabled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from rotator.core.keys import IssuedKey
from rotator.core.ledger import Failure, Ledger
from rotator.core.marker import parse_marker
from rotator.core.snapshot import Demand, Listing
from rotator.core.target import Policy, Target
from rotator.engine.acting import append
from rotator.engine.observe import (
    Observation,
    ledger_seen,
    list_keys,
    observe,
    read_value,
)
from rotator.engine.reconcile import Report, cause_of, reconcile
from rotator.engine.world import World, ledger_name
from rotator.errors import AuditUnavailable, ServiceError, Transient, Unauthorised
from rotator.events import Event, Phase, Result, StepSettled
from rotator.events import Resync as ResyncEvent

log = logging.getLogger(__name__)

Spread = Callable[[Callable[[Target], "Report"], Iterable[Target]], Iterable["Report"]]
"""Runs one function over many targets, e.g. in a thread pool, and returns the reports."""


@dataclass(frozen=True, slots=True)
class ResyncReport:
    """How a resync went.

    Attributes:
        reports: one for each target that could be observed.
        failed: why there was no listing, or None. One that only lacks workspaces that
            OpenRouter does not know is one.
        keys: how many keys were listed.
        foreign: how many of them are not ours.
        copied: how many bear our instance but another installation: a copied configuration.
    """

    reports: tuple[Report, ...]
    failed: str | None = None
    keys: int = 0
    foreign: int = 0
    copied: int = 0


def one_by_one(work: Callable[[Target], Report], targets: Iterable[Target]) -> Iterable[Report]:
    """Run over the targets in turn."""
    return [work(target) for target in targets]


def resync(
    world: World,
    targets: tuple[Target, ...],
    *,
    spread: Spread = one_by_one,
    earlier: dict[str, Failure] | None = None,
    demand: Callable[[Target], Demand | None] = lambda _: None,
    term: int | None = None,
) -> ResyncReport:
    """Observe every target, list the account once, and reconcile each target with both.

    Args:
        world: the ports.
        targets: all configured targets.
        spread: runs the work over the targets.
        earlier: by target, the last failure that the ledger could not keep.
        demand: an operator's request for each target.
        term: the fleet's, as it was before the targets were read; None for the one of now.

    Returns:
        The report. Where the listing fails, targets are reconciled without one.
    """
    seen: dict[str, Observation] = {}
    failures = earlier or {}
    term = world.fleet.term() if term is None else term

    list(spread(lambda target: _look_at(world, target, demand(target), seen), targets))
    world.fleet.fill((target.name for target in targets), term)
    listing, failed = _list(world, tuple(seen.values()))
    if listing is not None:
        world.fleet.begin_resync(_dead(tuple(seen.values()), listing))
    extra = _let_go(world, targets, seen, listing)

    def work(target: Target) -> Report:
        observation = seen.get(target.name)
        if observation is not None and listing is not None:
            observation = _with(world, observation, listing)
        return reconcile(
            world,
            target,
            demand=demand(target),
            observation=observation,
            earlier=failures.get(target.name),
        )

    # Of some it is not known yet what they serve; what they tell keeps keys of the others.
    unseen = world.fleet.unseen() or frozenset()
    first = tuple(spread(work, (each for each in targets if each.name in unseen)))
    rest = (each for each in (*targets, *extra) if each.name not in unseen)
    reports = (*first, *spread(work, rest))
    if listing is None:
        return ResyncReport(reports, failed)
    return _told(world, reports, listing, targets)


def _look_at(
    world: World, target: Target, demand: Demand | None, seen: dict[str, Observation]
) -> Report:
    """Observe a target, and note in `seen` what was found; one that cannot be is only told of."""
    try:
        seen[target.name] = observation = observe(world, target, demand=demand)
        if observation.snapshot.ledger.trouble is not None and observation.snapshot.secret.live:
            # It stands still, yet what it serves must be known to all the others.
            read_value(world, observation)
    except (ServiceError, AuditUnavailable) as error:
        log.error("target %s: %s", target.name, error)
    return Report(target.name, world.clock.now(), None, None)


def _with(world: World, observation: Observation, listing: Listing) -> Observation:
    """Return what was observed of a target, with the listing and what is known of the fleet.

    The listing is older than what was read of a target that only the listing brought to light.
    """
    seen = observation.snapshot
    snapshot = replace(
        seen,
        listing=replace(listing, fresh=listing.fresh and seen.target.configured),
        served_by=world.fleet.served_by(),
        dead=world.fleet.dead(),
        unlisted=world.fleet.unlisted(),
    )
    return Observation(snapshot)


def _list(world: World, seen: tuple[Observation, ...]) -> tuple[Listing | None, str | None]:
    """List every workspace of configuration, claims and ledgers; begun after their reading.

    Those of the account that none of them names are listed too, as far as that can be done:
    what is left of a target that was let go may be in a workspace of its own.
    """
    named: dict[str, list[str]] = {}
    for observation in seen:
        for workspace in observation.snapshot.workspaces():
            named.setdefault(workspace, []).append(observation.snapshot.target.name)
    try:
        listing, left_out = list_keys(world, frozenset(named), _workspaces(world))
    except ServiceError as error:
        if isinstance(error, Unauthorised):
            world.fleet.refuse(str(error))
        log.error("resync: %s", error, extra={"reason": str(cause_of(error).reason)})
        return None, str(error)
    world.fleet.refuse(None)
    world.fleet.leave_out(frozenset(named.keys() & left_out.keys()))
    for workspace, why in left_out.items():
        names = ", ".join(sorted(named.get(workspace, []))) or "no target"
        log.error("resync: %s (named by %s)", why, names)
    return listing, None


def _workspaces(world: World) -> frozenset[str]:
    """Return all workspaces of the account, or none where the management key may not ask."""
    try:
        return world.issuer.list_workspaces()
    except ServiceError as error:
        log.warning("resync: only workspaces that targets name are listed: %s", error)
        return frozenset()


def _dead(seen: tuple[Observation, ...], listing: Listing) -> frozenset[str]:
    """Return the targets whose served key a listing does not show alive."""
    dead: set[str] = set()
    for observation in seen:
        snapshot = observation.snapshot
        book = snapshot.ledger.ledger
        if book is None or book.served is None:
            continue
        key = listing.keys.get(book.served.hash)
        gone = key is None and snapshot.workspaces() <= listing.workspaces
        disabled = key is not None and key.disabled and not book.served.disable_claimed
        expires = key.expires_at if key is not None else None
        expired = expires is not None and expires <= snapshot.vault_now
        if gone or disabled or expired:
            dead.add(snapshot.target.name)
    return frozenset(dead)


def _let_go(
    world: World,
    targets: tuple[Target, ...],
    seen: dict[str, Observation],
    listing: Listing | None,
) -> tuple[Target, ...]:
    """Return the targets that are configured no more but whose keys are not all gone.

    They are found by the markers of their keys; what is left of them is in their ledgers.
    """
    if listing is None:
        return ()
    configured = {target.name for target in targets}
    markers = (parse_marker(key.name) for key in listing.keys.values())
    names = {
        marker.target
        for marker in markers
        if marker is not None
        and marker.installation == world.identity.installation
        and marker.target not in configured
    }
    found: list[Target] = []
    for name in sorted(names):
        try:
            ledger = ledger_seen(world.ledgers.read(ledger_name(name))).ledger
            if ledger is None:
                continue
            target = let_go_target(name, ledger)
            seen[name] = observe(world, target)
        except ServiceError as error:
            log.error("target %s: %s", name, error)
            continue
        found.append(target)
    return tuple(found)


def let_go_target(name: str, ledger: Ledger) -> Target:
    """Return what is left of a target that was taken out of the configuration."""
    return Target(name, ledger.secret, Policy(), configured=False)


def _told(
    world: World, reports: tuple[Report, ...], listing: Listing, targets: tuple[Target, ...]
) -> ResyncReport:
    """Count the listed keys and write the count into the audit trail."""
    del targets
    known: set[str] = set()
    for report in reports:
        book = report.snapshot.ledger.ledger if report.snapshot is not None else None
        if book is not None:
            known |= {entry.hash for entry in book.retiring}
            known |= {book.served.hash} if book.served is not None else set()
    foreign = copied = orphans = 0
    for key in listing.keys.values():
        if key.hash in known:
            continue
        if _ours(world, key):
            orphans += 1
            continue
        foreign += 1
        marker = parse_marker(key.name)
        copied += marker is not None and marker.instance == world.identity.instance
    if copied:
        log.warning(
            "%d keys bear this instance's name but another installation's: "
            "was the configuration copied?",
            copied,
        )
    event = ResyncEvent(
        phase=Phase.OUTCOME,
        op=f"{world.draw()}/resync",
        result=Result.DONE,
        keys=len(listing.keys),
        served=len(world.fleet.served_by()),
        orphans=orphans,
        foreign=foreign,
    )
    _append_or_log(world, event)
    return ResyncReport(reports, None, len(listing.keys), foreign, copied)


def _ours(world: World, key: IssuedKey) -> bool:
    """Tell whether a key bears this very installation's marker."""
    marker = parse_marker(key.name)
    return marker is not None and marker.installation == world.identity.installation


def _append_or_log(world: World, event: Event) -> None:
    """Write a notice; where that fails it is said loudly, and the next step will not act."""
    try:
        append(world, event)
    except AuditUnavailable as error:
        log.error("the audit trail cannot be written: %s", error)


def settle_interrupted(world: World, targets: tuple[Target, ...]) -> int:
    """Close intents that a process left open and that no standing claim will settle.

    Steps under a claim are settled by the claim's recovery, which knows what to look
    for. What is left is bookkeeping that was cut short: it is closed as interrupted.

    Returns:
        How many intents were closed.
    """
    old = world.limits.claim_timeout
    open_intents = [each for each in world.audit.unsettled() if world.clock.now() - each.at > old]
    if not open_intents:
        return 0
    claimed: set[str] = set()
    for target in targets:
        try:
            book = ledger_seen(world.ledgers.read(ledger_name(target.name))).ledger
        except ServiceError as error:
            raise Transient("vault", "settle the audit trail", str(error)) from None
        if book is not None and book.pending is not None:
            claimed.add(book.pending.op)
    closed = 0
    for intent in open_intents:
        if intent.op.split("/")[0] in claimed:
            continue
        event = StepSettled(
            phase=Phase.OUTCOME,
            op=intent.op,
            target=intent.target,
            key_hash=intent.key_hash,
            result=Result.INTERRUPTED,
        )
        append(world, event)
        closed += 1
    return closed
