"""Paths of secrets: what is allowed in one, and where its mount ends."""

from __future__ import annotations

from dataclasses import dataclass

from rotator.errors import Refused


@dataclass(frozen=True, slots=True)
class Place:
    """A secret's path, cut where its mount ends.

    Attributes:
        mount: the KV engine's mount, without slashes at its ends; it may have some inside.
        rest: the path inside it.
    """

    mount: str
    rest: str

    @property
    def data(self) -> str:
        """The API path of its values, as a policy names it."""
        return f"{self.mount}/data/{self.rest}"

    @property
    def metadata(self) -> str:
        """The API path of its metadata, as a policy names it."""
        return f"{self.mount}/metadata/{self.rest}"


def segments(path: str) -> tuple[str, ...]:
    """Return the parts of a path like ``secret/apps/billing``.

    ``..`` matters most: it is not escaped on the way, so ``secret/a/../../sys/seal`` would reach
    another endpoint (seen with hvac and urllib3).

    Raises:
        Refused: the path is no ``mount/path``, or a part is empty, ``.`` or ``..``, begins or
            ends with a space, or holds a character that cannot be printed.
    """
    parts = tuple(path.split("/"))
    if len(parts) < 2:
        raise _unusable("it must be MOUNT/PATH")
    for part in parts:
        if not part:
            raise _unusable("a part of it is empty (a slash too many)")
        if part in {".", ".."}:
            raise _unusable("a part of it is '.' or '..'")
        if part != part.strip():
            raise _unusable("a part of it begins or ends with a space")
        if not part.isprintable():
            raise _unusable("it holds a character that cannot be printed")
    return parts


def _unusable(why: str) -> Refused:
    # The path is not repeated: what is wrong with it may be what a terminal should not get.
    return Refused("vault", "find secret", f"the path is not usable: {why}")
