"""The status page: what to show of the rows, and the template that shows it.

Everything from outside is escaped by the template; a hash is shown shortened, and there is
no plaintext to be shown. The page holds no script and no inline style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rotator.core.reasons import MEANING, Reason
from rotator.ports import Clock
from rotator.web.cards import HASH, card
from rotator.web.fleet import STATES, Row, Tone, Views, codes, tone_of
from rotator.web.recorder import AuditRecorder
from rotator.web.state import Role, Source
from rotator.web.summary import coming, headline, notices, shares

REFRESH = 30
"""Seconds after which a browser asks for the page again."""

PER_PAGE = 50
"""How many targets one page shows in full, and how many of those in order as lines."""

EVENTS = 20
"""How many audit events are shown."""

_FILES = Path(__file__).parent / "files"
_MOST_TEXT = 100


def style() -> bytes:
    """Return the style sheet."""
    return (_FILES / "style.css").read_bytes()


def style_name(content: bytes) -> str:
    """Return the style sheet's name, which changes with its content."""
    return f"style-{sha256(content).hexdigest()[:12]}.css"


_COLOURS = {Tone.BAD: "#dc2626", Tone.WAIT: "#d97706", Tone.BUSY: "#2563eb", Tone.FINE: "#16a34a"}


def icon(tone: Tone) -> bytes:
    """Return the icon for a browser's tab, an SVG picture in the colour of the headline."""
    return (_FILES / "icon.svg").read_text().replace("currentColor", _COLOURS[tone]).encode()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks to see.

    Attributes:
        state: targets in this state only, or "" for all.
        why: targets that need a person for this reason only, or "".
        text: targets with this text in name or secret only, or "".
        page: of the targets in order, from 1.
        bad: page of the targets that need a person, from 1.
    """

    state: str = ""
    why: str = ""
    text: str = ""
    page: int = 1
    bad: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        """Return what a query asks for; what makes no sense in it is left out."""
        state = query.get("state", "")
        why = query.get("why", "")
        return cls(
            state=state if state in STATES else "",
            why=why if why in set(Reason) else "",
            text=query.get("q", "")[:_MOST_TEXT].strip(),
            page=_number(query.get("page", "")),
            bad=_number(query.get("bad", "")),
        )

    def link(self, **changes: str | int) -> str:
        """Return a link to this page with something changed."""
        there = replace(self, **changes)  # type: ignore[arg-type]
        asked = {
            "state": there.state,
            "why": there.why,
            "q": there.text,
            "page": there.page if there.page > 1 else "",
            "bad": there.bad if there.bad > 1 else "",
        }
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"/?{query}" if query else "/"


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1


@dataclass(frozen=True, slots=True)
class Pages:
    """A part of a list, and the links to what is before and after it."""

    first: int
    last: int
    total: int
    before: str | None
    after: str | None


class Page:
    """Makes the status page from what the daemon has noted."""

    def __init__(self, source: Source, recorder: AuditRecorder, views: Views, clock: Clock) -> None:
        """Load the template.

        Args:
            source: the daemon.
            recorder: what was heard of the audit trail.
            views: turns reports into rows.
            clock: the time.
        """
        self._source = source
        self._recorder = recorder
        self._views = views
        self._clock = clock
        environment = Environment(
            loader=FileSystemLoader(_FILES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["short"] = lambda text: (text or "")[:HASH]
        environment.filters["utc"] = lambda at: at.strftime("%Y-%m-%d %H:%M:%S UTC")
        self._template = environment.get_template("page.html")
        self._style = style_name(style())

    def html(self, query: Mapping[str, str]) -> bytes:
        """Return the page for a query's parameters."""
        return self.render(self.content(Asked.of(query)))

    def render(self, content: Mapping[str, object]) -> bytes:
        """Return the template filled with what `content` returned."""
        # A name out of a document in Vault may hold halves of surrogate pairs, which UTF-8 has not.
        return self._template.render(content).encode(errors="backslashreplace")

    def content(self, asked: Asked) -> dict[str, object]:
        """Return everything that the template shows."""
        now = self._clock.now()
        process, heard = self._source.process(), self._recorder.state()
        ready = self._source.vitals().ready
        # The targets are on the page of the replica that acts.
        targets = () if process.role is Role.STANDBY else self._source.targets()
        fleet = self._views.fleet(targets, self._source.reports(), now)
        seen = notices(process, heard, ready=ready, now=now)
        bad = _chosen(fleet.bad, asked)
        rest = _chosen(fleet.rest, asked)
        bad_pages = _pages(asked, "bad", len(bad))
        rest_pages = _pages(asked, "page", len(rest))
        counts, total = fleet.counts, len(fleet.rows)
        return {
            "refresh": REFRESH,
            "style": self._style,
            "now": now,
            "process": process,
            "asked": asked,
            "total": total,
            "headline": headline(fleet, process, seen, ready=ready),
            "coming": coming(fleet, now),
            "notices": seen,
            "shares": shares(counts, total),
            "states": [(s, n, tone_of(s)) for s, n in counts.items() if n],
            "causes": [(code, MEANING[Reason(code)], count) for code, count in fleet.causes]
            if len(bad) > 3
            else [],
            "bad": [card(row, now) for row in bad[bad_pages.first - 1 : bad_pages.last]],
            "bad_pages": bad_pages,
            "rest": [card(row, now) for row in rest[rest_pages.first - 1 : rest_pages.last]],
            "rest_pages": rest_pages,
            "events": heard.events[:EVENTS],
        }


def _chosen(rows: tuple[Row, ...], asked: Asked) -> Sequence[Row]:
    """Return the rows that are among what was asked for."""
    if not (asked.state or asked.why or asked.text):
        return rows
    return [row for row in rows if _wanted(row, asked)]


def _wanted(row: Row, asked: Asked) -> bool:
    """Tell whether a row is among what was asked for."""
    if asked.state and row.state != asked.state:
        return False
    if asked.why and asked.why not in codes(row):
        return False
    text = asked.text.lower()
    return not text or text in row.target.name or text in str(row.target.secret).lower()


def _pages(asked: Asked, name: str, total: int) -> Pages:
    """Return which part of a list is shown."""
    wanted: int = getattr(asked, name)
    last = max(1, -(-total // PER_PAGE))
    number = min(max(1, wanted), last)
    first = (number - 1) * PER_PAGE + 1
    return Pages(
        first=first,
        last=min(total, first + PER_PAGE - 1),
        total=total,
        before=asked.link(**{name: number - 1}) if number > 1 else None,
        after=asked.link(**{name: number + 1}) if number < last else None,
    )
