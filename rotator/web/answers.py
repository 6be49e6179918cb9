"""Which request gets which answer. Knows nothing of sockets.

The metrics and the page are loaded when they are first asked for, so that a daemon starts as
quickly with a server as without one.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from rotator.ports import Clock
from rotator.web.fleet import Tone, Views
from rotator.web.recorder import AuditRecorder
from rotator.web.state import Source

if TYPE_CHECKING:
    from rotator.web.metrics import Metrics
    from rotator.web.page import Page

_log = logging.getLogger(__name__)

_PLAIN = "text/plain; charset=utf-8"

_ALWAYS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}

_MOST_PARAMETERS = 10


@dataclass(frozen=True, slots=True)
class Request:
    """What is looked at of a request.

    Attributes:
        method: in capitals.
        path: decoded, without the query.
        query: what follows the question mark, undecoded.
        host: the ``Host`` header, or "".
    """

    method: str
    path: str
    query: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: status, body, its type, and further headers."""

    status: int
    body: bytes
    type: str = _PLAIN
    headers: dict[str, str] = field(default_factory=dict)

    def all_headers(self) -> dict[str, str]:
        """Return every header that is sent."""
        length = str(len(self.body))
        return _ALWAYS | self.headers | {"Content-Type": self.type, "Content-Length": length}


class Answers:
    """Answers requests from what the daemon has noted."""

    def __init__(
        self,
        source: Source,
        recorder: AuditRecorder,
        clock: Clock,
        *,
        listen_host: str,
        page: bool,
    ) -> None:
        """Take what the answers are made from.

        Args:
            source: the daemon.
            recorder: what was heard of the audit trail.
            clock: the time.
            listen_host: the configured address, which the page may be asked for under.
            page: whether the status page is served.
        """
        self._source = source
        self._recorder = recorder
        self._clock = clock
        self._listen_host = listen_host.lower()
        self._page_on = page
        self._views = Views()
        self._metrics: Metrics | None = None
        self._page: Page | None = None
        self._loading = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        """Return the answer; never raises."""
        if request.method not in ("GET", "HEAD"):
            return Answer(405, b"only GET and HEAD\n", headers={"Allow": "GET, HEAD"})
        try:
            return self._answer(request)
        except Exception as error:  # noqa: BLE001 - one broken answer must not end the server
            _log.error("%s for %s", type(error).__name__, request.path, exc_info=True)
            return Answer(500, b"internal error\n")

    def _answer(self, request: Request) -> Answer:
        match request.path:
            case "/healthz":
                return self._health()
            case "/readyz":
                return self._ready()
            case "/metrics":
                return self._measured()
        if not self._page_on:
            why = b"the status page is off: page = true in [http] turns it on\n"
            return Answer(404, why if request.path == "/" else b"not found\n")
        if not self._is_our_host(request.host):
            told = b"the page is served under an address or localhost only, not under this name\n"
            return Answer(421, told)
        return self._browsed(request)

    def _health(self) -> Answer:
        trouble = self._source.vitals().trouble
        if trouble is None:
            return Answer(200, b"ok\n")
        return Answer(503, f"{trouble}\n".encode(errors="backslashreplace"))

    def _ready(self) -> Answer:
        if self._source.vitals().ready:
            return Answer(200, b"ok\n")
        return Answer(503, b"Vault has not let us in yet\n")

    def _measured(self) -> Answer:
        from rotator.web import metrics

        with self._loading:
            if self._metrics is None:
                self._metrics = metrics.Metrics(
                    self._source, self._recorder, self._views, self._clock
                )
        return Answer(200, self._metrics.text(), metrics.TYPE)

    def _browsed(self, request: Request) -> Answer:
        """Answer a person's browser."""
        from rotator.web import page

        if request.path == "/":
            with self._loading:
                if self._page is None:
                    self._page = page.Page(self._source, self._recorder, self._views, self._clock)
            try:
                query = dict(parse_qsl(request.query, max_num_fields=_MOST_PARAMETERS))
            except ValueError:
                return Answer(400, b"too many parameters\n")
            body = self._page.html(query)
            return Answer(200, body, "text/html; charset=utf-8", _PAGE_HEADERS)
        sheet = page.style()
        if request.path == f"/{page.style_name(sheet)}":
            kept = {"Cache-Control": "public, max-age=31536000, immutable"}
            return Answer(200, sheet, "text/css; charset=utf-8", kept)
        for tone in Tone:
            if request.path == f"/icon-{tone}.svg":
                kept = {"Cache-Control": "public, max-age=3600"}
                return Answer(200, page.icon(tone), "image/svg+xml", kept)
        return Answer(404, b"not found\n")

    def _is_our_host(self, host: str) -> bool:
        """Tell whether a browser asks us under a name that no stranger can have made ours.

        A page of another site can have a name of its own lead to this address (DNS
        rebinding), but cannot make a browser send an address or our own name as ``Host``.
        """
        name, _, port = host.rpartition(":")
        if not name or not port.isdigit():
            name = host
        name = name.strip("[]").lower()
        if name in ("localhost", self._listen_host):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
