"""The audit trail: canonical JSON lines in a hash chain, in a file or on standard output.

`FileAuditTrail` and `StreamAuditTrail` implement `rotator.ports.AuditSink`; `verify` reads
what they wrote, and `schema` prints its JSON Schema. The trail is written by this package's
own code and never passes through a logging library.
"""

from __future__ import annotations

from rotator.adapters.audit.file import FileAuditTrail
from rotator.adapters.audit.stream import StreamAuditTrail

__all__ = ["FileAuditTrail", "StreamAuditTrail"]
