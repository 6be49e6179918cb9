"""OpenRouter's management API behind `rotator.ports.KeyIssuer`, over synchronous httpx.

`wire` sends one call and turns whatever happens into a value; it is the one importer of
httpx. `failures` turns such a value into one of `rotator.errors`, `reading` into a key,
`listing` puts pages together, and `issuer` holds the rules: what is sent once, what is
repeated, and what is settled by a read. Nothing here decides whether a key may be
changed, and no answer's body, no header and no plaintext is ever logged.
"""

from __future__ import annotations

from rotator.adapters.openrouter.issuer import OpenRouterIssuer
from rotator.adapters.openrouter.wire import OpenRouterSettings

__all__ = ["OpenRouterIssuer", "OpenRouterSettings"]
