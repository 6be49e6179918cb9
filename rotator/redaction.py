"""Masks what looks like a credential in text that is about to leave the process.

This is the second line of defence: plaintext lives in `rotator.secret.Secret`, which
prints as a mask. What slips past that (a library's debug line, a header inside an
exception's message) is caught here by its shape. SHA-256 digests (64 hex digits) are
no credentials and stay readable.

The shapes: OpenRouter keys (``sk-or-...``), Vault tokens of all kinds (``hvs.``, ``hvb.``,
``hvr.``, and ``s.`` of Vault before 1.10), JSON web tokens, what follows ``Bearer``, and
the password in a URL. In plain text, also what follows a telling name such as
``X-Vault-Token:``.
"""

from __future__ import annotations

import re

MASK = "***"

# Each of them matches inside one JSON string only (no quote, no backslash), so that masking the
# bytes of a JSON document leaves it valid.
_TOKENS = (
    (r"sk-or-[A-Za-z0-9_-]{6,}", f"sk-or-{MASK}"),
    (r"(hv[sbr])\.[A-Za-z0-9_-]{8,}", rf"\1.{MASK}"),
    (r"(?<![A-Za-z0-9])s\.[A-Za-z0-9]{24}(?![A-Za-z0-9])", f"s.{MASK}"),
    (r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?", f"eyJ{MASK}"),
    (r"(?i:(bearer))[ \t]+[A-Za-z0-9._~+/=-]{6,}", rf"\1 {MASK}"),
    (r"(://)[^/\s:@\"\\]*:[^/\s@\"\\]+@", rf"\1{MASK}@"),
)
_IN_TEXT = tuple((re.compile(shape, re.ASCII), mask) for shape, mask in _TOKENS)
_IN_BYTES = tuple((re.compile(shape.encode()), mask.encode()) for shape, mask in _TOKENS)

# What follows a telling name, where it has a scheme before it or looks like more than a word.
_NAMED = re.compile(
    r"(?i)\b(authorization|x-vault-token|client_token|secret[_-]id|password|management_key)"
    r"(b?['\"]?\s*[:=]\s*b?['\"]?|['\"]\s*,\s*b?['\"])"
    r"((?:basic|bearer|token)\s+[^\s'\",;)}\]]+|(?=[^\s'\",;)}\]]*\d)[^\s'\",;)}\]]{8,})",
    re.ASCII,
)


def redact(text: str) -> str:
    """Return a text in which everything that looks like a credential is masked."""
    for shape, mask in _IN_TEXT:
        text = shape.sub(mask, text)
    return _NAMED.sub(rf"\1\2{MASK}", text)


def redact_bytes(data: bytes) -> bytes:
    """Return bytes in which everything with a credential's own shape is masked.

    JSON stays valid JSON. What only a name before it gives away needs `redact` on the
    text, before it is encoded.
    """
    for shape, mask in _IN_BYTES:
        data = shape.sub(mask, data)
    return data
