"""Putting the pages of a listing together so that no key is missed.

OpenRouter pages by offset, 100 entries a page, newest first, without a total or a
cursor; a page with fewer entries is the last. While pages are read, keys are made and
deleted: one that is made pushes the rest down, so that entries come twice, which does
no harm; one that is deleted pulls them up, so that an entry falls between two pages and
is not seen. Every page is therefore asked for from the last entry of the one before.
Where its first entry is not a known one, something was pulled up, and the workspace is
read again from the start. As long as the order of entries is a fixed one, every key that
was there throughout is found. (A page read again at the end would show new keys, not
that an old one was missed.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rotator.core.keys import IssuedKey

FULL = 100
"""Entries of a page that is not the last."""
MOST_PAGES = 1000
"""Pages of one workspace that are read at most."""
STARTS = 3
"""How often a workspace is read from the start at most."""

Page = tuple[IssuedKey, ...]


@dataclass(frozen=True, slots=True)
class NoListing:
    """Why the pages make no listing, in a few words."""

    why: str


def gather(page_at: Callable[[int], Page]) -> dict[str, IssuedKey] | NoListing:
    """Return every key of one workspace by its hash, or why they could not be told.

    Args:
        page_at: fetches the page that begins at an offset; what it raises passes through.
    """
    for _ in range(STARTS):
        found = _once(page_at)
        if found is not None:
            return found
    return NoListing("keys kept disappearing while their listing was read")


def _once(page_at: Callable[[int], Page]) -> dict[str, IssuedKey] | NoListing | None:
    """Read all pages once; None where an entry may have fallen between two of them."""
    found: dict[str, IssuedKey] = {}
    offset = 0
    for _ in range(MOST_PAGES):
        page = page_at(offset)
        if offset and (not page or page[0].hash not in found):
            return None
        known = len(found)
        found.update((key.hash, key) for key in page)
        if len(page) < FULL:
            return found
        if len(found) == known:
            return NoListing("the pages of the listing repeat themselves")
        offset += len(page) - 1
    return NoListing(f"the listing does not end within {MOST_PAGES} pages")
