"""Everything on this machine without accounts: two APIs, their state, faults, and consumers.

`Sandbox` (in `rotator.sandbox.server`) serves an OpenRouter-compatible API and a
Vault-KV-v2-compatible one on loopback ports; `ConsumerFleet` (in `rotator.sandbox.consumers`) plays
the applications that read their key from Vault and call the provider with it. The states behind the
APIs (`OpenRouterAccount`, `VaultStore`) are plain objects that take a clock and do no input or
output, so that a simulation may drive them without a server.

This package must not import the adapters whose counterpart it plays, nor httpx, hvac or requests: a
misreading of either API must not cancel itself out.
"""

from __future__ import annotations
