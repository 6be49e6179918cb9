"""What an operator's commands do to a ledger: hold, release, retire; and who asked for a rollback."""

from __future__ import annotations

from rotator.core import hand_edits
from rotator.core.edits import Edit
from rotator.core.ledger import Hold, Ledger
from rotator.core.reasons import Reason
from rotator.core.target import Target
from rotator.engine.acting import append
from rotator.engine.hand import Hand, StepFailed, change_ledger
from rotator.engine.observe import observe
from rotator.engine.world import World
from rotator.errors import Refused
from rotator.events import OperatorCommand, Phase, Result

_TRIES = 5


def hold(world: World, target: Target, *, why: str, by: str) -> None:
    """Stop scheduled rotation, disable and delete of a target until it is released.

    Raises:
        Refused: the target has no ledger that can be changed.
        ServiceError: Vault could not be asked.
    """
    at = world.clock.now()
    edit = hand_edits.SetHold(Hold(Reason.HELD, why, by, at))
    _operate(world, target, edit, by=by, command="hold", detail=why)


def release(world: World, target: Target, *, by: str) -> None:
    """End a hold, whoever set it, and forget past failures.

    Raises:
        Refused: the target has no ledger that can be changed.
        ServiceError: Vault could not be asked.
    """
    _operate(world, target, hand_edits.Release(), by=by, command="release", detail="")


def retire(world: World, target: Target, *, key: str | None, by: str) -> tuple[str, ...]:
    """Let old keys be disabled now, without waiting for grace or proof.

    Args:
        world: the ports.
        target: the target.
        key: the hash of one retiring key, or None for all of them.
        by: who asked.

    Returns:
        The hashes that are retired.

    Raises:
        Refused: there is no such retiring key, or no ledger that can be changed.
        ServiceError: Vault could not be asked.
    """
    old = retirable(_book(world, target))
    keys = old if key is None else old & {key}
    if key is not None and not keys:
        raise Refused("vault", f"retire a key of {target.name}", f"{key} is not retiring there")
    if keys:
        detail = " ".join(sorted(keys))
        _operate(
            world, target, hand_edits.RetireByHand(keys), by=by, command="retire", detail=detail
        )
    return tuple(sorted(keys))


def retirable(book: Ledger) -> frozenset[str]:
    """Return the hashes of the retiring keys that are still enabled."""
    return frozenset(
        entry.hash for entry in book.retiring if entry.disabled_at is None or entry.enabled_by_hand
    )


def note_command(
    world: World,
    target: Target,
    *,
    command: str,
    by: str,
    detail: str,
    key: str | None = None,
    request: str | None = None,
) -> None:
    """Write into the audit trail who asked for what, before anything is changed for it.

    Args:
        world: the ports.
        target: what it is about.
        command: the command's name.
        by: who asked.
        detail: its arguments in one line, without secrets.
        key: hash of the key that it names, or None.
        request: the id under which another process asked this one for it, or None.

    Raises:
        AuditUnavailable: it could not be written.
    """
    event = OperatorCommand(
        phase=Phase.OUTCOME,
        op=f"{request or world.draw()}/{command}",
        target=target.name,
        key_hash=key,
        result=Result.DONE,
        command=command,
        by=by,
        detail=detail,
    )
    append(world, event)


def _book(world: World, target: Target) -> Ledger:
    """Return a target's ledger, or refuse."""
    seen = observe(world, target).snapshot.ledger
    if seen.ledger is None:
        why = seen.detail or "it has no ledger yet; let one pass observe it first"
        raise Refused("vault", f"change {target.name}", why)
    return seen.ledger


def _operate(
    world: World, target: Target, edit: Edit, *, by: str, command: str, detail: str
) -> None:
    """Write the edit into the ledger, and then the command into the audit trail, once."""
    change(world, target, edit, command)
    note_command(world, target, command=command, by=by, detail=detail)


def change(world: World, target: Target, edit: Edit, command: str = "change") -> None:
    """Apply an edit to a target's ledger as it stands, and anew where another was first.

    The change has an intent of its own in the audit trail. A claim that stands meanwhile is
    kept: its holder re-reads and goes on.

    Raises:
        Refused: the target has no ledger that can be changed.
        StepFailed: the ledger keeps changing.
        ServiceError: Vault could not be asked.
    """
    tries = 0
    while True:
        observation = observe(world, target)
        snapshot = observation.snapshot
        if snapshot.ledger.ledger is None:
            why = snapshot.ledger.detail or "it has no ledger yet; let one pass observe it first"
            raise Refused("vault", f"{command} {target.name}", why)
        hand = Hand(world, observation, snapshot.ledger, snapshot.draft.op, Reason.REQUESTED)
        try:
            change_ledger(hand, edit)
        except StepFailed:
            tries += 1
            if tries == _TRIES:
                raise
        else:
            return
