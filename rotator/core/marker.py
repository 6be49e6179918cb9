"""The marker in a key's name, by which a key whose plaintext was lost is found again.

It reads ``rotator/INSTANCE/INSTALLATION/TARGET/NONCE`` and is parsed whole, never
by prefix: a name that merely begins like one is somebody else's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
_MARKER = re.compile(rf"rotator/({_NAME})/([0-9a-f]{{16}})/({_NAME})/([0-9a-f]{{16}})")


@dataclass(frozen=True, slots=True)
class Marker:
    """Who made a key, for which target, and in which attempt.

    Attributes:
        instance: the configuration's ``instance`` when the key was made.
        installation: 16 hex digits drawn once for one state prefix in Vault.
        target: the target's name when the key was made.
        nonce: 16 hex digits drawn anew for each attempt to create a key.
    """

    instance: str
    installation: str
    target: str
    nonce: str

    def __str__(self) -> str:
        """Return the text that stands in the key's name."""
        return f"rotator/{self.instance}/{self.installation}/{self.target}/{self.nonce}"


def parse_marker(name: str) -> Marker | None:
    """Return the marker that a key's name is, or None where it is anything else."""
    found = _MARKER.fullmatch(name)
    return Marker(*found.groups()) if found else None
