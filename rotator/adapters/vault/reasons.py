"""Words for what went wrong below HTTP, the few headers that matter, and what may be quoted.

Nothing here repeats a library's message: requests' exceptions hold the request with its token
and body, and one of them (`InvalidHeader`) prints the header's value.
"""

from __future__ import annotations

import json
import math
import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import hvac.exceptions
import requests.exceptions as by_requests
import urllib3.exceptions as by_urllib3

_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (by_requests.InvalidProxyURL, "the proxy's address is not usable"),
    (by_requests.ProxyError, "the proxy failed"),
    (by_requests.SSLError, "TLS failed"),
    (by_requests.ConnectTimeout, "no connection in time"),
    (by_requests.Timeout, "no answer in time"),
    (by_requests.RetryError, "too many tries"),
    (by_requests.ConnectionError, "the connection failed or was cut"),
    (by_requests.ChunkedEncodingError, "the answer was cut"),
    (by_requests.ContentDecodingError, "the answer's compression is broken"),
    (by_requests.StreamConsumedError, "the answer was read twice"),
    (by_requests.UnrewindableBodyError, "the request could not be sent again"),
    (by_requests.TooManyRedirects, "too many redirects"),
    (by_requests.HTTPError, "the answer is an error"),
    (by_requests.MissingSchema, "the address has no scheme"),
    (by_requests.InvalidSchema, "the address's scheme is not http or https"),
    (by_requests.InvalidURL, "the address is not usable"),
    (by_requests.URLRequired, "there is no address"),
    (by_requests.InvalidHeader, "a header holds a character that may not be sent"),
    (by_requests.JSONDecodeError, "the answer is not JSON"),
    (by_requests.InvalidJSONError, "the request is not JSON"),
    (by_requests.RequestException, "the request failed"),
    (hvac.exceptions.ParamValidationError, "hvac refused a parameter"),
    (hvac.exceptions.VaultError, "hvac refused the answer"),
    (by_urllib3.SSLError, "TLS failed"),
    (by_urllib3.HTTPError, "the connection failed or was cut"),
    (HTTPException, "the answer is not HTTP, or was cut"),
    (UnicodeError, "a text cannot be encoded"),
    (ValueError, "a value cannot be sent"),
    (OSError, "the connection failed"),
)


def reason_of(error: Exception, timeout: float) -> str:
    """Say why a call failed, in words of our own.

    Args:
        error: what was raised.
        timeout: seconds that the call had.
    """
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, socket.gaierror):
            return "the host name cannot be resolved"
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return f"TLS failed: {cause.reason.replace('_', ' ').lower()}"
        if isinstance(cause, OSError) and not isinstance(cause, TimeoutError) and cause.errno:
            return os.strerror(cause.errno).lower()
    # Last, because urllib3 counts every connection that was not made among its timeouts.
    if any(isinstance(cause, TimeoutError | by_urllib3.TimeoutError) for cause in causes):
        return f"no whole answer within {timeout:g} s"
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    return "failed"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and those it wraps, however the libraries wrapped them."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < 50:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]


def http_date(value: str | None) -> datetime | None:
    """Return the instant of a ``Date`` header (aware, UTC), or None where it is no date."""
    try:
        parsed = parsedate_to_datetime(value or "")
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def rfc3339(value: object) -> datetime | None:
    """Return an instant as Vault writes it (nanoseconds, cut to microseconds), or None."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.astimezone(UTC) if parsed.tzinfo else None
    except (ValueError, OverflowError):
        return None


def seconds_to_wait(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header, or None where it is not a number of them.

    Vault sends seconds; the date that HTTP also allows is left to the caller's own backoff.
    """
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def origin(location: str | None) -> str | None:
    """Return scheme, host and port of a ``Location`` header, or None; never its path or query."""
    try:
        parts = urlsplit(location or "")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not name:
        return None
    clean = "".join(c for c in name if c.isalnum() or c in ".-:")[:200]
    return f"{parts.scheme}://{clean}" + (f":{port}" if port else "")


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text inside a JSON value, names of fields aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_in(inner)


def repeats(messages: Iterable[str], sent: Iterable[str]) -> bool:
    """Tell whether messages hold any of the texts that were sent, as they are or as in JSON.

    Texts of fewer than four characters are in every message.
    """
    told = " ".join(messages)
    return any(
        text in told or json.dumps(text)[1:-1] in told for text in sent if told and len(text) >= 4
    )
