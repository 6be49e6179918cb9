"""The shapes of ``--json``; each is described in ``docs/json.md``."""

from __future__ import annotations

from typing import Any

from rotator.core.ledger import Failure, Hold
from rotator.core.request import Request
from rotator.core.steps import Finding, Plan
from rotator.core.view import ClaimView, RetiringView, ServedView, State, TargetView
from rotator.core.words import moment


def target_document(seen: TargetView) -> dict[str, Any]:
    """Return a target as ``status --json`` shows it."""
    return {
        "name": seen.name,
        "secret": seen.secret,
        "state": str(seen.state),
        "served": served_document(seen.served),
        "next_due": moment(seen.next_due),
        "due_why": str(seen.due_why) if seen.due_why is not None else None,
        "retiring": [retiring_document(each) for each in seen.retiring],
        "hold": hold_document(seen.hold),
        "claim": claim_document(seen.claim),
        "request": request_document(seen.request),
        "failure": failure_document(seen.failure),
        "safe": seen.safe,
        "findings": [finding_document(each) for each in seen.findings],
    }


def unreachable_document(name: str, secret: str, why: str) -> dict[str, Any]:
    """Return a target that could not be observed, in the same shape."""
    return {
        "name": name,
        "secret": secret,
        "state": str(State.UNREACHABLE),
        "served": None,
        "next_due": None,
        "due_why": None,
        "retiring": [],
        "hold": None,
        "claim": None,
        "request": None,
        "failure": {
            "reason": "unavailable",
            "detail": why,
            "since": None,
            "count": 1,
            "next_try": None,
        },
        "safe": "What is served stays as it is.",
        "findings": [],
    }


def served_document(served: ServedView | None) -> dict[str, Any] | None:
    """Return a served key."""
    if served is None:
        return None
    return {
        "hash": served.hash,
        "minted_at": moment(served.minted_at),
        "secret_version": served.secret_version,
        "minted_by_us": served.minted_by_us,
        "expires_at": moment(served.expires_at),
    }


def retiring_document(entry: RetiringView) -> dict[str, Any]:
    """Return a retiring key."""
    return {
        "hash": entry.hash,
        "stage": str(entry.stage),
        "until": moment(entry.until),
        "why": str(entry.why),
        "since": moment(entry.since),
    }


def hold_document(hold: Hold | None) -> dict[str, Any] | None:
    """Return a hold."""
    if hold is None:
        return None
    return {"reason": str(hold.reason), "why": hold.why, "by": hold.by, "at": moment(hold.at)}


def claim_document(claim: ClaimView | None) -> dict[str, Any] | None:
    """Return a change in progress."""
    if claim is None:
        return None
    return {
        "kind": str(claim.kind),
        "holder": claim.holder,
        "since": moment(claim.since),
        "until": moment(claim.until),
    }


def request_document(request: Request | None) -> dict[str, Any] | None:
    """Return what a command asks for."""
    if request is None:
        return None
    return {
        "verb": str(request.verb),
        "by": request.by,
        "at": moment(request.at),
        "until": moment(request.until),
    }


def failure_document(failure: Failure | None) -> dict[str, Any] | None:
    """Return a failure."""
    if failure is None:
        return None
    return {
        "reason": str(failure.reason),
        "detail": failure.detail,
        "since": moment(failure.since),
        "count": failure.count,
        "next_try": moment(failure.next_try),
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """Return a finding."""
    return {
        "reason": str(finding.reason),
        "sentence": finding.sentence,
        "key": finding.key,
        "attention": finding.attention,
    }


def plan_document(seen: TargetView, plan: Plan) -> dict[str, Any]:
    """Return a target as ``plan --json`` shows it: what would be done now, or when."""
    return {
        "name": seen.name,
        "state": str(seen.state),
        "reason": str(plan.reason),
        "steps": [type(step).__name__ for step in plan.steps],
        "needs": [type(need).__name__ for need in plan.needs],
        "wake_at": moment(plan.wake_at),
        "next_due": moment(seen.next_due),
        "urgent": plan.urgent,
        "findings": [finding_document(each) for each in plan.findings],
        "error": None,
    }
