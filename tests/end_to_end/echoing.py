"""Servers that answer with everything that they were sent, and a search for what must not show.

`Echo` stands in both proxies. It hands every call on, and spoils the answers of one route in as many
ways as there are targets: the n-th target gets the n-th way, so that one process meets them all.
What the server answered is in the spoilt answer too, plaintext of new keys and all.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rotator.core.marker import parse_marker
from tests.end_to_end.bench import Place
from tests.end_to_end.proxy import Answer, Forward, Request, digest

ANYWHERE = "anywhere"
"""Stands for all routes: one call of `EACH` is spoilt, whatever it is."""

EACH = 7

LEAST = 12
"""So many characters of a secret in a row count as the secret."""


_LEAD = itertools.count()


def _text(request: Request, answer: Answer) -> str:
    """All that caller and server said: bare secrets first, since a long message is cut short."""
    headers = request.headers
    bare = [
        request.bearer or headers.get("x-vault-token", ""),
        request.body.decode("utf-8", "replace"),
        answer.body.decode("utf-8", "replace"),
        " ".join(_values(answer.json)),
    ]
    turn = next(_LEAD) % len(bare)
    lines = [f"{request.method} {request.path}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\n".join([*bare[turn:], *bare[:turn], *lines])


def _values(document: Any) -> Iterator[str]:
    """What in a JSON document looks as if it were secret, whatever stands around it."""
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        for each in document:
            yield from _values(each)
    elif isinstance(document, str) and len(document) > 32:
        yield document


def _json_error(status: int) -> Any:
    def spoil(request: Request, answer: Answer) -> Answer:
        said = _text(request, answer)
        body = {
            "error": {"message": said, "code": status, "metadata": {"raw": said}},
            "errors": [said],
        }
        headers = {"Content-Type": "application/json", "X-Echo": quote(said)[:8000]}
        if status == 429:
            headers["Retry-After"] = "1"
        return Answer(status, headers, json.dumps(body).encode())

    return spoil


def _html(request: Request, answer: Answer) -> Answer:
    page = f"<html><head><title>{_text(request, answer)}</title></head></html>"
    return Answer(502, {"Content-Type": "text/html"}, page.encode())


def _redirect(request: Request, answer: Answer) -> Answer:
    there = f"http://127.0.0.1:9/elsewhere?said={quote(_text(request, answer))}"
    return Answer(302, {"Location": there[:8000], "Content-Type": "text/plain"}, b"")


def _truncated(request: Request, answer: Answer) -> Answer:
    return replace(answer, cut=max(1, len(answer.body) - 2))


def _no_json(request: Request, answer: Answer) -> Answer:
    return replace(answer, body=_text(request, answer).encode())


def _other_shape(request: Request, answer: Answer) -> Answer:
    said = _text(request, answer)
    data = {"hash": said, "name": [said], "keys": said, "metadata": said, "data": said}
    return replace(answer, body=json.dumps({"data": data, "key": said, "auth": said}).encode())


def _bad_start(request: Request, answer: Answer) -> Answer:
    said = quote(_text(request, answer), safe=" :.-")[:6000]
    return replace(answer, start=f"HTTP/1.1 {said}")


def _reason(request: Request, answer: Answer) -> Answer:
    said = quote(_text(request, answer), safe=" :.-")[:6000]
    return replace(answer, status=500, start=f"HTTP/1.1 500 {said}")


WAYS = {
    "400": _json_error(400),
    "403": _json_error(403),
    "404": _json_error(404),
    "409": _json_error(409),
    "429": _json_error(429),
    "500": _json_error(500),
    "html": _html,
    "redirect": _redirect,
    "truncated": _truncated,
    "no json": _no_json,
    "other shape": _other_shape,
    "bad start": _bad_start,
    "reason": _reason,
}
"""How an answer is spoilt."""

TARGETS = tuple(f"spoilt-{way.replace(' ', '-')}" for way in WAYS)


@dataclass(slots=True)
class Echo:
    """Stands in both proxies of a place.

    Attributes:
        management_key: what the process is given, and what the sandbox knows instead.
        mask: whether new keys are handed out under another form, which no pattern knows.
        route: whose answers are spoilt, or None.
        struck: how often each way struck, by route.
        secrets: everything that must not show.
    """

    management_key: tuple[str, str]
    mask: bool
    route: str | None = None
    struck: Counter[tuple[str, str]] = field(default_factory=Counter)
    secrets: set[str] = field(default_factory=set)
    _owner: dict[str, str] = field(default_factory=dict)
    _real: dict[str, str] = field(default_factory=dict)
    _turn: Iterator[str] = field(default_factory=lambda: itertools.cycle(WAYS))
    _count: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request, forward: Forward) -> Answer | None:
        answer = self._learn(request, forward(self._translated(request)))
        route, target = self._place_of(request)
        if route is None or self.route not in (route, ANYWHERE):
            return answer
        with self._lock:
            if self.route == ANYWHERE:
                way = next(self._turn) if next(self._count) % EACH == 0 else None
            else:
                way = list(WAYS)[TARGETS.index(target)] if target else next(self._turn)
            if way is None:
                return answer
            self.struck[self.route, way] += 1
        spoilt: Answer = WAYS[way](request, answer)
        return spoilt

    def _translated(self, request: Request) -> Request:
        """Put the plaintexts that the sandbox knows in the place of ours."""
        bearer = request.bearer
        ours, theirs = self.management_key
        real = theirs if bearer == ours else self._real.get(bearer or "")
        if real is None:
            return request
        return replace(request, headers=request.headers | {"authorization": f"Bearer {real}"})

    def _learn(self, request: Request, answer: Answer) -> Answer:
        """Note the secrets in an answer, and whose key is whose."""
        said = answer.json
        if request.method == "POST" and request.route.endswith("/api/v1/keys"):
            if answer.status != 201:
                return answer
            plain, key_hash = said["key"], said["data"]["hash"]
            marker = parse_marker(said["data"]["name"])
            assert marker is not None
            shown = f"unknown-kind-{plain[::-1]}" if self.mask else plain
            with self._lock:
                self.secrets |= {plain, shown}
                self._owner[key_hash] = self._owner[digest(shown)] = marker.target
                self._real[shown] = plain
            return replace(answer, body=json.dumps(said | {"key": shown}).encode())
        if request.route.endswith("/login") and answer.status == 200:
            with self._lock:
                self.secrets.add(said["auth"]["client_token"])
        return answer

    def _place_of(self, request: Request) -> tuple[str | None, str | None]:
        """The name of a call's route, and the target that it is about."""
        last = request.route.rpartition("/")[2]
        mine = last if last in TARGETS else None
        match request.method, request.route.split("/")[1:]:
            case "GET", ["api", "v1", "keys"]:
                return "list", None
            case "POST", ["api", "v1", "keys"]:
                marker = parse_marker(request.json["name"])
                return "mint", marker.target if marker is not None else None
            case "GET", ["api", "v1", "key"]:
                bearer = request.bearer or ""
                if bearer == self.management_key[0]:
                    return "whoami", None
                return "verify", self._owner.get(digest(bearer))
            case method, ["api", "v1", "keys", key_hash]:
                name = {"GET": "look", "PATCH": "disable", "DELETE": "delete"}[method]
                return name, self._owner.get(key_hash)
            case "GET", ["v1", "secret", "data", _, "state", *_]:
                return ("ledger read" if mine else "installation"), mine
            case "POST" | "PUT", ["v1", "secret", "data", _, "state", *_]:
                return "ledger write", mine
            case "GET", ["v1", "secret", "metadata", *_]:
                return "metadata", mine
            case "GET", ["v1", "secret", "data", _, "apps", _]:
                return "read", mine
            case "POST" | "PUT", ["v1", "secret", "data", _, "apps", _]:
                return "publish", mine
            case _, ["v1", "auth", _, "login"]:
                return "login", None
            case _, ["v1", "auth", "token", *_]:
                return "token", None
            case _, ["v1", "sys", name, *_]:
                return name, None
        return None, None


def forms(secret: str) -> Iterator[str]:
    """Every run of characters of a secret that counts as the secret, plain and in base64."""
    for text in (secret, base64.b64encode(secret.encode()).decode()):
        body = text.removeprefix("sk-or-v1-").removeprefix("unknown-kind-")
        for start in range(max(1, len(body) - LEAST + 1)):
            yield body[start : start + LEAST]


def unmet(echo: Echo, route: str) -> set[str]:
    """The ways in which no answer of a route was spoilt."""
    return set(WAYS) - {way for name, way in echo.struck if name == route}


def leaks(secrets: Iterable[str], texts: dict[str, str]) -> list[str]:
    """Where a secret shows: names of texts, with the line, the secret itself left out.

    Each text is gone through once, whatever the number of secrets: logs have megabytes.
    """
    whose = {run: secret for secret in secrets for run in forms(secret)}
    found = []
    for name, text in texts.items():
        shown: dict[str, str] = {}
        for length in {len(run) for run in whose}:
            for start in range(len(text) - length + 1):
                run = text[start : start + length]
                if run in whose:
                    shown.setdefault(whose[run], run)
        for hit in shown.values():
            line = next(line for line in text.splitlines() if hit in line)
            found.append(f"{name}: {line.replace(hit, '<SECRET>')[:1500]}")
    return found


def everything_written(place: Place) -> dict[str, str]:
    """All that a place's processes printed, logged, recorded, kept in Vault or named keys by."""
    texts = {
        str(path.relative_to(place.folder)): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(Path(place.folder).iterdir())
        if path.name != "config.toml"
    }
    for target in place.targets:
        texts[f"ledger of {target}"] = json.dumps(place.ledger(target))
    texts["installation"] = json.dumps(place.read(f"{place.instance}/state/installation"))
    texts["names of keys"] = json.dumps([key.name for key in place.minted()])
    return texts
