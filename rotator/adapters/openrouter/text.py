"""Making text from outside fit for a terminal, a log and an exception."""

from __future__ import annotations

import re

from rotator.secret import MASK, Secret

LONGEST = 256
"""Characters of a text from outside that are kept."""

_CREDENTIALS = re.compile(r"(?i)sk-or-(?!\*)\S+|\bhv[bsr]\.\S+|\bbearer\s+\S+")
_WHOLE_KEYS = re.compile(r"(?i)sk-or-[\w-]{16,}")


def clean(text: str, *hidden: Secret) -> str:
    """Return a message without control characters and credentials, cut to `LONGEST`.

    Whatever looks like an OpenRouter key, a Vault token or a bearer header is masked,
    and so are the given secrets, whatever they look like.
    """
    for secret in hidden:
        if secret.reveal():
            text = text.replace(secret.reveal(), MASK)
    return printable(_CREDENTIALS.sub(MASK, text))


def label(text: str) -> str:
    """Return a key's name or label likewise; OpenRouter's own short mask stays readable."""
    return printable(_WHOLE_KEYS.sub(MASK, text))


def printable(text: str) -> str:
    """Replace what a terminal would act on, and cut to `LONGEST`.

    Each such character is replaced, not dropped, so that no name becomes another one
    that is a marker.
    """
    return "".join(char if char.isprintable() else "\ufffd" for char in text[:LONGEST])
