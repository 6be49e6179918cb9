"""What went wrong with a call, as one of `rotator.errors`.

The shape of an error, ``{"error": {"code": int, "message": str, "metadata": object}}``
with the code equal to the HTTP status, is that of OpenRouter's API reference. What does
not have it was written by something in between (a proxy, a load balancer).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from rotator.adapters.openrouter.text import clean
from rotator.adapters.openrouter.wire import Answer, Exchange, NoAnswer
from rotator.errors import OutcomeUnknown, Refused, ServiceError, Transient, Unauthorised
from rotator.secret import MASK, Secret

SERVICE = "openrouter"
LONGEST_WAIT = timedelta(hours=25)
"""The longest delay that is believed: a daily quota ends within a day."""
QUICK = timedelta(seconds=1)
"""The longest delay that a quick retry may ignore by being about as late itself."""

_DAILY = re.compile(r"(?i)\brpd\b|\bper[ _-]?day\b|\bdaily\b")
_LONG_WORD = re.compile(r"[A-Za-z0-9_+/=-]{24,}", re.ASCII)
"""What may be a key of whatever kind."""

_BY_ITSELF = {500, 501, 503}
"""With an error of the API's own shape: the service gave up. 502 and 504 say that
something in between did, and the call may still be under way behind it."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an error is told about a call.

    Attributes:
        operation: what was asked, in a few words.
        now: the wall clock's time (aware, UTC), for delays that are given as instants.
        hidden: the credential that was sent, to be masked should an answer repeat it.
        makes_key: whether an answer may quote a new key, which nobody knows yet.
    """

    operation: str
    now: datetime
    hidden: tuple[Secret, ...] = ()
    makes_key: bool = False


def api_error(answer: Answer) -> Mapping[str, Any] | None:
    """Return the error object of an answer that has OpenRouter's shape and is whole, or None."""
    body = answer.json() if answer.whole else None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or type(error.get("code")) is not int:
        return None
    same = error["code"] == answer.status and isinstance(error.get("message"), str)
    return error if same else None


def is_said(exchange: Exchange, status: int) -> bool:
    """Tell whether OpenRouter itself answered this error; a proxy's page proves nothing."""
    return isinstance(exchange, Answer) and exchange.status == status and bool(api_error(exchange))


def is_definite_no(exchange: Exchange) -> bool:
    """Tell whether an answer says for certain that nothing happened: a whole 4xx.

    Not 408: it says that the request did not arrive in time, which is seldom known.
    """
    if not isinstance(exchange, Answer) or not exchange.whole:
        return False
    return 400 <= exchange.status < 500 and exchange.status != 408


def may_act_later(exchange: Exchange) -> bool:
    """Tell whether a call that is to change something may yet have its effect."""
    if isinstance(exchange, NoAnswer):
        return exchange.sent
    if is_definite_no(exchange):
        return False
    return exchange.status not in _BY_ITSELF or api_error(exchange) is None


def worth_repeating(exchange: Exchange, now: datetime) -> bool:
    """Tell whether a quick retry may help: connection errors and 5xx, nothing else.

    Not where the answer asks for a longer delay: that goes back to the caller.
    """
    if isinstance(exchange, NoAnswer):
        return True
    if exchange.status >= 500:
        return (retry_after(exchange, now) or 0.0) <= QUICK.total_seconds()
    return not exchange.whole and exchange.status != 429


def read_failure(exchange: Exchange, context: Context) -> ServiceError:
    """Return the error for a call that changes nothing, or that is known to have changed nothing."""
    if isinstance(exchange, NoAnswer):
        return Transient(SERVICE, context.operation, exchange.why)
    status, detail = exchange.status, _detail(exchange, context)
    if exchange.whole and status == 401:
        return Unauthorised(SERVICE, context.operation, detail, status=status)
    not_proven = status == 404 and not is_said(exchange, 404)
    if is_definite_no(exchange) and status not in {425, 429} and not not_proven:
        return Refused(SERVICE, context.operation, detail, status=status)
    return Transient(
        SERVICE,
        context.operation,
        detail,
        status=status,
        retry_after=retry_after(exchange, context.now),
        pauses_writes=status == 429,
    )


def create_failure(exchange: Exchange, context: Context) -> ServiceError:
    """Return the error for the create: a whole 4xx is a definite no, else a key may exist."""
    if isinstance(exchange, NoAnswer):
        if exchange.sent:
            return OutcomeUnknown(SERVICE, context.operation, exchange.why)
        return Transient(SERVICE, context.operation, exchange.why)
    if not is_definite_no(exchange):
        return unknown(exchange, context)
    if exchange.status not in {401, 429}:
        detail = _detail(exchange, context)
        return Refused(SERVICE, context.operation, detail, status=exchange.status)
    return read_failure(exchange, context)


def unknown(exchange: Exchange, context: Context) -> OutcomeUnknown:
    """Return the error for a call that may have had its effect, or may yet have it."""
    if isinstance(exchange, NoAnswer):
        return OutcomeUnknown(SERVICE, context.operation, exchange.why)
    detail = _detail(exchange, context)
    return OutcomeUnknown(SERVICE, context.operation, detail, status=exchange.status)


def _detail(answer: Answer, context: Context) -> str:
    """Describe an answer in one line, from fields that the API documents and no others."""
    status = f"HTTP {answer.status}"
    if not answer.whole:
        return f"{status}, and the answer was cut short"
    if 300 <= answer.status < 400:
        where = _without_query(answer.headers.get("location", ""))
        return f"{status}, a redirect to {clean(where, *context.hidden)!r}; none is followed"
    error = api_error(answer)
    if error is not None:
        message = error["message"]
        if context.makes_key:
            message = _LONG_WORD.sub(MASK, message)
        return f"{status}: {clean(message, *context.hidden)}"
    if answer.status < 300:
        return f"{status}, but the answer is not of the documented shape"
    return f"{status}, not as an error of the API: something in between may have answered"


def _without_query(location: str) -> str:
    try:
        parts = urlsplit(location)
        host = parts.hostname or ""
        return f"{parts.scheme}://{host}{parts.path}" if host else parts.path
    except ValueError:
        return "an unreadable address"


def retry_after(answer: Answer, now: datetime) -> float | None:
    """Return the seconds to wait that an answer asks for, or None where it does not say.

    In this order: ``Retry-After`` in seconds or as a date; for a daily quota the next
    00:00 UTC, at which OpenRouter's daily counters start afresh; ``X-RateLimit-Reset``
    in milliseconds or seconds since 1970, as a header or in the error's metadata.
    Delays are cut to 25 hours.
    """
    if answer.status not in {408, 425, 429} and answer.status < 500:
        return None
    delay = _asked(answer.headers.get("retry-after", ""), now)
    if delay is None and answer.status == 429:
        error = api_error(answer) or {}
        delay = _until_midnight(now) if _is_daily(error) else _until_reset(answer, error, now)
    if delay is None:
        return None
    return min(max(delay, 0.0), LONGEST_WAIT.total_seconds())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _asked(text: str, now: datetime) -> float | None:
    seconds = _number(text)
    if seconds is not None or not text:
        return seconds
    try:
        when = parsedate_to_datetime(text)
        return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None


def _is_daily(error: Mapping[str, Any]) -> bool:
    try:
        metadata = json.dumps(error.get("metadata"))
    except RecursionError:
        metadata = ""
    return bool(_DAILY.search(str(error.get("message", ""))) or _DAILY.search(metadata))


def _until_midnight(now: datetime) -> float:
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1) - now).total_seconds()


def _until_reset(answer: Answer, error: Mapping[str, Any], now: datetime) -> float | None:
    metadata = error.get("metadata")
    inside = metadata.get("headers") if isinstance(metadata, dict) else None
    values = [answer.headers.get("x-ratelimit-reset")]
    if isinstance(inside, dict):
        values += [value for name, value in inside.items() if name.lower() == "x-ratelimit-reset"]
    for value in values:
        number = None if value is None else _number(str(value))
        if number is None:
            continue
        if number > 1e11:
            return number / 1000 - now.timestamp()
        return number - now.timestamp() if number > 1e9 else number
    return None
