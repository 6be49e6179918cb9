"""The composition root: from a configuration to the ports that the engine works with."""

from __future__ import annotations

from rotator.wiring.references import (
    REREAD_AFTER,
    WITHOUT_PROVIDER,
    ManagementKey,
    References,
    own_secrets,
)
from rotator.wiring.services import READ_ONLY, NoAudit, Services, build, connect, draw, limits_of

__all__ = [
    "READ_ONLY",
    "REREAD_AFTER",
    "WITHOUT_PROVIDER",
    "ManagementKey",
    "NoAudit",
    "References",
    "Services",
    "build",
    "connect",
    "draw",
    "limits_of",
    "own_secrets",
]
