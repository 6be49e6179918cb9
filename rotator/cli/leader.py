"""Who acts, as ``status`` shows it first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rotator.cli.output import say
from rotator.config import Config
from rotator.core.lease import Lease, LeaseSeen, is_live
from rotator.core.words import in_past, moment


@dataclass(frozen=True, slots=True)
class Leader:
    """The lease as people are shown it.

    Attributes:
        lease: what the last holder wrote, or None where there was none or it is not understood.
        renewed_at: when, by Vault's clock.
        live: whether somebody holds it.
        same_config: whether the holder's configuration file is the one that was read here.
    """

    lease: Lease | None
    renewed_at: datetime | None
    live: bool
    same_config: bool


def leader_of(seen: LeaseSeen, config: Config) -> Leader:
    """Return who acts, from the lease as read and our own configuration."""
    lease = seen.lease
    same = lease is not None and lease.state.config_sha256 == config.sha256
    return Leader(lease, seen.renewed_at, is_live(seen, config.daemon.lease), same)


def leader_document(leader: Leader) -> dict[str, Any] | None:
    """Return the holder as ``status --json`` shows it, or None where nobody holds the lease."""
    lease = leader.lease
    if not leader.live or lease is None:
        return None
    return {
        "holder": lease.holder,
        "since": moment(lease.acquired_at),
        "renewed_at": moment(leader.renewed_at),
        "version": lease.state.version,
        "config_sha256": lease.state.config_sha256,
        "same_config": leader.same_config,
        "reload_error": lease.state.reload_error,
        "resynced_at": moment(lease.state.resynced_at),
    }


def print_leader(leader: Leader | None, now: datetime) -> None:
    """Print one line on who acts, and one on each thing that is odd about it."""
    if leader is None:
        return
    lease = leader.lease
    if not leader.live:
        say("no leader: no daemon holds the lease")
        say()
        return
    if lease is None:
        say("leader unknown: this version does not understand the lease")
        say()
        return
    state = lease.state
    config = state.config_sha256[:12]
    say(f"leader {lease.holder} ({state.version})")
    said = f" (as it said {in_past(leader.renewed_at, now)})" if leader.renewed_at else ""
    say(f"configuration {config}, last resync {in_past(state.resynced_at, now)}{said}")
    if not leader.same_config:
        say("it acts by another configuration than the file that was read here")
    if state.reload_error is not None:
        say(f"its last reload failed: {state.reload_error}")
    say()
