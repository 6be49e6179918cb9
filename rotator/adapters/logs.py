"""The ordinary logs, on standard error: the one importer of structlog.

Every module logs through the standard library and says what happened in a few fixed words,
with the values beside them::

    _log = logging.getLogger(__name__)
    _log.info("published", extra={"target": target.name, "version": 4})

and each unit of work names itself once, for all lines that are written in it, libraries'
included (threads of a pool do not inherit this, so it belongs into the job)::

    with log_context(target=target.name, op=op):
        ...

Fields cannot be called ``timestamp``, ``level``, ``logger`` or ``event`` (which would be
passed over), nor ``name``, ``args``, ``module`` or another attribute of a log record (which
`logging` refuses with a KeyError).

A log line never stops the program and never carries a credential: values are masked by the
name of their field and by their shape, and once more in the finished bytes; a line that
cannot be rendered or written is dropped. A reader who merely stops reading fills the pipe;
what finds no room in it is dropped as well, and he is told how much when he reads again.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from rotator.pipes import PIECE, has_room
from rotator.redaction import MASK, redact, redact_bytes

Format = Literal["auto", "json", "console"]

QUIET = ("apscheduler", "hvac", "httpcore", "httpx", "requests", "stamina", "tzlocal", "urllib3")
"""Libraries of which only warnings are of interest, whatever the level."""

_OWN = ("timestamp", "level", "logger", "event")
_TEXTS = ("exception", "stack")
_LONGEST = 16_384
_PATIENCE = 1.0
# Seconds for which a line waits for room in its reader's pipe.
_DEEPEST = 6


def configure_logging(
    level: str = "info", format: Format = "auto", stream: TextIO | None = None
) -> None:
    """Send all logs of the process to one stream; a second call replaces the first.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        format: ``json`` for one object a line, ``console`` for people, ``auto`` for
            ``console`` where the stream is a terminal. Colours are for terminals only, and
            not where the variable ``NO_COLOR`` is set (https://no-color.org).
        stream: standard error as it is at the time of the call, unless given.
    """
    stream = sys.stderr if stream is None else stream
    terminal = _is_terminal(stream)
    if format == "json" or (format == "auto" and not terminal):
        rendering = _json()
    else:
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        rendering = _console(colours=terminal and not plain)
    handler = _QuietHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[_assemble, structlog.processors.format_exc_info, *rendering]
        )
    )
    threshold = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    for other in root.handlers[:]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(threshold)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(capture=True)


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Add fields to every log line that this thread writes inside the block."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


# --- from a record to fields ---------------------------------------------------------------------

_extra = structlog.stdlib.ExtraAdder()


def _assemble(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put a record's own fields first, then those of the call, then those of the context."""
    record: logging.LogRecord = event["_record"]
    given = _extra(logger, method, {"_record": record})
    context = structlog.contextvars.get_contextvars()
    fields: EventDict = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": event["event"],
    }
    fields["timestamp"] = fields["timestamp"].replace("+00:00", "Z")
    for name, value in {**context, **given}.items():
        if not name.startswith("_"):
            fields.setdefault(name, value)
    if event.get("exc_info"):
        fields["exc_info"] = event["exc_info"]
    if event.get("stack_info"):
        fields["stack"] = event["stack_info"]
    return fields


def _json() -> list[Processor]:
    def clean(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {_text(name): _masked(name, value) for name, value in event.items()}

    def render(_: WrappedLogger, __: str, event: EventDict) -> str:
        return json.dumps(event, ensure_ascii=True, separators=(",", ":"))

    return [clean, render]


def _console(*, colours: bool) -> list[Processor]:
    def clean(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        cleaned: EventDict = {}
        for name, value in event.items():
            safe = _masked(name, value)
            if name in _TEXTS and isinstance(safe, str):
                # Indented, so that no line of it can pass for a line of the log.
                cleaned[name] = "\n".join(f"  | {_visible(line)}" for line in safe.split("\n"))
            elif name in _OWN:
                cleaned[name] = _visible(str(safe))
            else:
                cleaned[_visible(_text(name))] = _quoted(safe)
        return cleaned

    renderer = structlog.dev.ConsoleRenderer(
        colors=colours, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )
    return [clean, renderer]


# --- what a value may look like ------------------------------------------------------------------

_SECRET_NAMES = frozenset({
    "authorization", "proxy_authorization", "cookie", "set_cookie", "key", "keys", "apikey",
    "token", "tokens", "x_vault_token", "secret", "secrets", "secret_id", "password", "passwd",
    "passphrase", "plaintext", "credential", "credentials", "jwt", "headers",
})  # fmt: skip
_SECRET_ENDINGS = ("_authorization", "_cookie", "_key", "_token", "_secret", "_password", "_jwt")


def _is_secret(name: str) -> bool:
    """Tell whether a field of this name may hold plaintext (``key_hash`` and its like do not)."""
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-\s.]", "_", name).lower()
    return plain in _SECRET_NAMES or plain.endswith(_SECRET_ENDINGS)


def _masked(name: object, value: object, depth: int = 0) -> Any:
    """Return a field's value as JSON can hold it, without credentials."""
    if value is not None and not isinstance(value, bool) and _is_secret(_text(name)):
        return MASK
    return _plain(value, depth)


def _plain(value: object, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, depth)
    if isinstance(value, int):
        return value if abs(value) < 2**63 else hex(value)
    if isinstance(value, float):
        return value if value - value == 0 else repr(value)  # not JSON: infinities, not a number
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {_text(name): _masked(name, item, depth + 1) for name, item in value.items()}
        if isinstance(value, str | bytes | bytearray):
            return _text(value)
        if isinstance(value, Sequence | AbstractSet):
            return [_plain(item, depth + 1) for item in value]
    return _text(value)


def _text(value: object) -> str:
    """Return a value as bounded text in which every credential is masked."""
    try:
        text = str(value) if isinstance(value, str | BaseException | date) else repr(value)
    except Exception:  # noqa: BLE001 - whatever a foreign __repr__ raises
        text = f"<{type(value).__name__}>"
    text = redact(text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "\N{HORIZONTAL ELLIPSIS}"


def _visible(text: str) -> str:
    """Return a text in which nothing moves a terminal's cursor or ends the line."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if unicodedata.category(character)[0] != "C" and character not in "\u2028\u2029"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def _quoted(value: Any) -> str:
    """Return a value for ``name=value``: in quotes where a space would blur where it ends."""
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
        return _visible(value)
    return f'"{_visible(value)}"' if re.search(r"[\s=\"]", value) or not value else _visible(value)


# --- the stream ----------------------------------------------------------------------------------


class _QuietHandler(logging.Handler):
    """Writes finished lines to a stream past its buffer, and never raises or complains.

    What a broken pipe leaves in a buffer would be tried again when the interpreter ends, and
    turn its exit code into 120.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        buffer = getattr(stream, "buffer", None)
        self._raw = getattr(buffer, "raw", buffer)
        self._lost = 0
        self._torn = False  # the last line that went out is cut short

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # broken, full or closed: there is nowhere left to say so
            lost = self._told_of() if self._lost else b""
            if self._write(lost + self._rendered(record)):
                self._lost = 0
            else:
                self._lost += 1

    def _rendered(self, record: logging.LogRecord) -> bytes:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a log line never stops the program
            line = json.dumps(
                {"level": record.levelname.lower(), "logger": record.name,
                 "event": "a log line could not be rendered"}
            )  # fmt: skip
        return redact_bytes(line.encode("utf-8", "backslashreplace")) + b"\n"

    def _told_of(self) -> bytes:
        """Return the line that says how many were lost, at the beginning of a line."""
        said = "log lines lost, because nobody read them: %d"
        record = logging.LogRecord(
            __name__, logging.WARNING, __file__, 0, said, (self._lost,), None
        )
        return (b"\n" if self._torn else b"") + self._rendered(record)

    def _write(self, data: bytes) -> bool:
        """Write some lines; False where their reader takes nothing."""
        if self._raw is None:
            self._stream.write(data.decode())
            return True
        # Whoever has let one line wait in vain gets no more of the program's time.
        patience = 0.0 if self._lost else _PATIENCE
        rest = memoryview(data)
        while rest:
            if not has_room(self._raw, patience):
                return False
            self._stream.flush()  # what others have left there comes first
            if not (count := self._raw.write(rest[:PIECE])):
                return False
            rest = rest[count:]
            self._torn = bool(rest)
        return True
