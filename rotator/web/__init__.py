"""What can be seen of the daemon over HTTP: health, metrics, and a page for people.

Nothing here changes anything, and nothing here asks Vault or OpenRouter: all answers come
from what the daemon has noted, which it gives as a `Source`. `state` says what that is,
`recorder` listens to the audit trail, `fleet` orders the targets, `metrics` and `page` turn
them into the two formats, `answers` decides which request gets what, and `server` is the
only part that knows of sockets.
"""

from __future__ import annotations

from rotator.web.answers import Answer, Answers, Request
from rotator.web.recorder import AuditRecorder
from rotator.web.server import WebServer
from rotator.web.state import Busy, Process, Role, Source, Vitals

__all__ = [
    "Answer",
    "Answers",
    "AuditRecorder",
    "Busy",
    "Process",
    "Request",
    "Role",
    "Source",
    "Vitals",
    "WebServer",
]
