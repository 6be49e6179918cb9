"""What single settings look like as text, each with a reader that explains what is legal.

Every reader raises `ValueError` with one line that says what the setting must be. None
repeats the text it was given, since an operator may have pasted a secret there.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Iterable
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from rotator.core.target import Blackout, SecretRef, Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DAY = "|".join(DAYS)
_WINDOW = re.compile(
    rf"(daily|(?:{_DAY})(?:[-,](?:{_DAY}))*) +([0-9]{{2}}):([0-9]{{2}})-([0-9]{{2}}):([0-9]{{2}})"
)
_WINDOW_HELP = 'a window is "mon-fri 09:00-17:00", "sat,sun 00:00-24:00" or "daily 22:00-04:00"'
_BLACKOUT_HELP = 'a blackout is two days, both included, as in "2026-12-20/2027-01-05", or one day'
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def closest(word: str, known: Iterable[str]) -> str:
    """Return the question "did you mean ...?", or an empty text where nothing is like the word."""
    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'did you mean "{found[0]}"?' if found else ""


def plain(text: str) -> str:
    """Return a text that is not empty, has no control characters and no blanks around it."""
    if not text or not text.isprintable() or text != text.strip():
        raise ValueError("must be text that is not empty, on one line, without blanks around it")
    return text


def name(text: str) -> str:
    """Return the name of an instance, a policy or a target."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            "a name is 1 to 63 lower-case letters, digits, dots, underscores and hyphens, "
            "and begins with a letter or digit"
        )
    return text


def environment_name(text: str) -> str:
    """Return the name of an environment variable."""
    if not _ENVIRONMENT_NAME.fullmatch(text):
        raise ValueError(
            "must be the name of an environment variable (letters, digits and underscores), "
            "not its value"
        )
    return text


def credential_name(text: str) -> str:
    """Return the name of a systemd credential, which is the name of a file in one folder."""
    if not _CREDENTIAL_NAME.fullmatch(text):
        raise ValueError("must be a credential's name as in systemd's LoadCredential=, not a path")
    return text


def absolute_path(text: str) -> Path:
    """Return a file's path, which must not depend on where the program is started."""
    plain(text)
    if not text.startswith("/"):
        raise ValueError("must be an absolute path, one that begins with /")
    return Path(text)


def vault_path(text: str) -> str:
    """Return ``mount/path`` without leading, trailing and double slashes and single dots.

    Two spellings that Vault takes for one secret become the same text.
    """
    parts = [part for part in plain(text).split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ValueError('must have no ".." in it')
    if len(parts) < 2:
        raise ValueError('must be a KV v2 mount and a path, as in "secret/apps/billing"')
    if any(part != part.strip() or set(part) & set("#?%*+\\") for part in parts):
        raise ValueError(r"must have no blanks around a slash and none of # ? % * + \ in it")
    return "/".join(parts)


def vault_field(text: str) -> SecretRef:
    """Return the secret and the field that ``mount/path#field`` names."""
    path, mark, field = text.rpartition("#")
    if not mark or not field:
        raise ValueError('must be a path and a field, as in "secret/rotator-root#management_key"')
    return SecretRef(vault_path(path), plain(field))


def mount(text: str) -> str:
    """Return where a login method is mounted under ``auth/``, without slashes at its ends."""
    parts = [part for part in plain(text).split("/") if part not in {"", "."}]
    if not parts or ".." in parts:
        raise ValueError('must be the mount\'s path, as in "approle" or "team/approle"')
    if parts[0] == "auth" and len(parts) > 1:
        raise ValueError(f'is counted from auth/: write "{"/".join(parts[1:])}"')
    if not text.isascii() or any(set(part) & set(" #?%*+\\") for part in parts):
        raise ValueError(r"must have no blanks and none of # ? % * + \ in it")
    return "/".join(parts)


def url(text: str) -> str:
    """Return a base URL without its final slashes."""
    try:
        parts = urlsplit(plain(text))
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be https://HOST[:PORT] with an optional path")
    if "@" in parts.netloc:
        raise ValueError("must have no user name and no password in it")
    if parts.query or parts.fragment:
        raise ValueError("must have no query and no fragment")
    return text.rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen_address(text: str) -> tuple[str, int]:
    """Return host and port of ``127.0.0.1:9464`` or ``[::1]:9464``."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not host.isprintable() or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII):
        raise ValueError("must be HOST:PORT, as in 127.0.0.1:9464 or [::1]:9464")
    if int(port) > 65535:
        raise ValueError("must have a port of at most 65535")
    return host, int(port)


def time_zone(text: str) -> ZoneInfo:
    """Return the time zone of that name."""
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    question = closest(text, available_timezones())
    raise ValueError(f'must be a time zone\'s name, as in "Europe/Berlin"; {question}'.rstrip("; "))


def window(text: str) -> Window:
    """Return the weekly window that a text such as ``mon-fri 09:00-17:00`` describes."""
    found = _WINDOW.fullmatch(text.strip().lower())
    if not found:
        raise ValueError(_WINDOW_HELP)
    days, *numbers = found.groups()
    first_hour, first_minute, last_hour, last_minute = map(int, numbers)
    start, end = first_hour * 60 + first_minute, last_hour * 60 + last_minute
    if first_hour > 23 or end > 24 * 60 or max(first_minute, last_minute) > 59:
        raise ValueError(f"the times are 00:00 to 24:00, the last only as an end; {_WINDOW_HELP}")
    if start == end:
        raise ValueError("begin and end are the same; a whole day is 00:00-24:00")
    return Window(_weekdays(days), start, end)


def _weekdays(text: str) -> frozenset[int]:
    if text == "daily":
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, *last = (DAYS.index(day) for day in part.split("-"))
        if len(last) > 1:
            raise ValueError(_WINDOW_HELP)
        length = (last[0] - first) % 7 if last else 0
        days.update((first + step) % 7 for step in range(length + 1))
    return frozenset(days)


def blackout(text: str) -> Blackout:
    """Return the days that a text such as ``2026-12-20/2027-01-05`` describes."""
    parts = text.split("/")
    if len(parts) > 2 or not all(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", p) for p in parts):
        raise ValueError(_BLACKOUT_HELP)
    try:
        days = [date.fromisoformat(part) for part in parts]
    except ValueError:
        raise ValueError(f"there is no such day; {_BLACKOUT_HELP}") from None
    if days[0] > days[-1]:
        raise ValueError("the first day is after the last; put the earlier day first")
    if days[-1].year > 2200 or days[0].year < 1970:
        raise ValueError("the days are in the years from 1970 to 2200")
    return Blackout(days[0], days[-1])


def workspace(text: str) -> str:
    """Return a workspace's id in its canonical form."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError(
            "must be a workspace's id, a UUID such as 7b3b1c9e-4c2f-4a5e-9a53-0d7d5a1f9f10"
        ) from None
