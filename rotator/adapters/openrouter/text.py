"""Making text from outside fit for a terminal, a log and an exception."""

from __future__ import annotations

from rotator.redaction import redact
from rotator.secret import MASK, Secret

LONGEST = 256
"""Characters of a text from outside that are kept."""


def clean(text: str, *hidden: Secret) -> str:
    """Return a message without control characters and credentials, cut to `LONGEST`.

    What looks like a credential is masked, and so are the given secrets (never empty
    ones), whatever they look like.
    """
    for secret in hidden:
        text = text.replace(secret.reveal(), MASK)
    return printable(redact(text))


def printable(text: str) -> str:
    """Replace what a terminal would act on, and cut to `LONGEST`.

    Each such character is replaced, not dropped, so that no name becomes another one
    that is a marker. Names are not masked: a target's name in a marker may look like
    the beginning of a key.
    """
    return "".join(char if char.isprintable() else "\ufffd" for char in text[:LONGEST])
