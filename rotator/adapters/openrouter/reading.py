"""Keys as OpenRouter shows them: lenient in what is read, strict in what is sent.

Source of the fields: OpenRouter's API reference, ``/api/v1/keys`` and ``/api/v1/key``.
The API is not versioned and gains fields, values and codes without notice. So only what
acting on a key needs must be there and well-formed, its ``hash`` and ``disabled``; any
other field that is not becomes "unknown", and is reported once per process by its name.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from rotator.adapters.openrouter.text import clean, printable
from rotator.adapters.openrouter.wire import Answer, Exchange, sendable
from rotator.core.instants import is_believable
from rotator.core.keys import CallerKey, IssuedKey, NewKey
from rotator.core.target import LimitReset
from rotator.ports import MintedKey
from rotator.secret import Secret

_log = logging.getLogger(__name__)
_HASH = re.compile(r"[0-9a-f]{64}")
_RESETS = ("daily", "weekly", "monthly")
_LIMITS = ("limit", "limit_remaining", "limit_reset", "include_byok_in_limit")


def is_hash(text: str) -> bool:
    """Tell whether a text is a key's hash: 64 lower-case hex digits."""
    return _HASH.fullmatch(text) is not None


def creation_body(new: NewKey) -> dict[str, Any] | str:
    """Return the body that creates a key, or what is wrong with the request in a few words.

    `limit` and `limit_reset` are always sent, since null means "unlimited" and "never"
    and an omitted field whatever the API's default is. A field that null would change
    (workspace, creator, expiry) is left out instead.
    """
    if not new.name:
        return "a key needs a name"
    if new.limit is not None and not (math.isfinite(new.limit) and new.limit >= 0):
        return "the limit is no amount of money"
    if new.limit_reset is not None and new.limit_reset not in _RESETS:
        return "the limit's reset is none of daily, weekly and monthly"
    if new.expires_at is not None and new.expires_at.tzinfo is None:
        return "the expiry has no time zone"
    body: dict[str, Any] = {
        "name": new.name,
        "limit": new.limit,
        "limit_reset": new.limit_reset,
        "include_byok_in_limit": new.include_byok_in_limit,
    }
    if new.expires_at is not None:
        body["expires_at"] = new.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if new.workspace_id is not None:
        body["workspace_id"] = new.workspace_id
    if new.creator_user_id is not None:
        body["creator_user_id"] = new.creator_user_id
    return body


def success(exchange: Exchange) -> dict[str, Any] | None:
    """Return the JSON object of a whole 2xx answer, or None for anything else."""
    if not isinstance(exchange, Answer) or not exchange.whole or not 200 <= exchange.status < 300:
        return None
    body = exchange.json()
    return body if isinstance(body, dict) else None


def workspaces_in(exchange: Exchange) -> frozenset[str] | None:
    """Return the ids of one page of workspaces, or None where one of them is malformed."""
    body = success(exchange)
    data = None if body is None else body.get("data")
    if not isinstance(data, list):
        return None
    ids = [entry.get("id") for entry in data if isinstance(entry, dict)]
    texts = [each for each in ids if isinstance(each, str)]
    return frozenset(texts) if len(texts) == len(data) else None


class KeyReader:
    """Reads keys and remembers which oddities it has reported.

    Several threads may share one: the worst that can happen is a line said twice.
    """

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def minted(self, exchange: Exchange, new: NewKey) -> MintedKey | None:
        """Return the key that a create's answer holds, or None where it holds no plaintext.

        The plaintext is the top-level ``key`` of any 2xx answer, even if the body was cut
        behind it, and is taken before anything else is looked at: it is shown this once.
        """
        if not isinstance(exchange, Answer) or not 200 <= exchange.status < 300:
            return None
        body = exchange.json()
        plaintext = body.get("key") if isinstance(body, dict) else None
        if not isinstance(plaintext, str) or not sendable(Secret(plaintext)):
            return None
        secret = Secret(plaintext)
        data = body.get("data")
        data = data if isinstance(data, dict) else {}
        name = data["name"] if isinstance(data.get("name"), str) else new.name
        key = self._key({**data, "name": name}, _hash_of(data) or secret.sha256())
        return MintedKey(key, secret)

    def key_in(self, exchange: Exchange, key_hash: str) -> IssuedKey | None:
        """Return the key that an answer shows, or None unless it is well-formed and the one asked for."""
        body = success(exchange)
        key = None if body is None else self.key(body.get("data"))
        return key if key is not None and key.hash == key_hash else None

    def page_in(self, exchange: Exchange) -> tuple[IssuedKey, ...] | None:
        """Return the keys of one page of a listing, or None where one of them is malformed."""
        body = success(exchange)
        data = None if body is None else body.get("data")
        if not isinstance(data, list):
            return None
        keys = tuple(key for entry in data if (key := self.key(entry)) is not None)
        return keys if len(keys) == len(data) else None

    def key(self, entry: Any) -> IssuedKey | None:
        """Return one key, or None where its hash or whether it is disabled cannot be told."""
        if not isinstance(entry, dict) or not isinstance(entry.get("disabled"), bool):
            return None
        key_hash = _hash_of(entry)
        return None if key_hash is None else self._key(entry, key_hash)

    def caller_in(self, exchange: Exchange, *, manages: bool) -> CallerKey | None:
        """Return what ``GET /key`` says, or None where it is no such answer.

        Args:
            exchange: what came back.
            manages: whether a management key asked; believed where the answer does not say.
        """
        body = success(exchange)
        data = None if body is None else body.get("data")
        if not isinstance(data, dict):
            return None
        flag = data.get("is_management_key", data.get("is_provisioning_key"))
        if not isinstance(flag, bool):
            self._report("is_management_key")
        text = data.get("label")
        return CallerKey(
            is_management_key=flag if isinstance(flag, bool) else manages,
            expires_at=self._instant(data, "expires_at"),
            label=clean(text) if isinstance(text, str) else "",
        )

    def _key(self, entry: Mapping[str, Any], key_hash: str) -> IssuedKey:
        name = entry.get("name")
        if not isinstance(name, str):
            self._report("name")
        limit, remaining = self._number(entry, "limit"), self._number(entry, "limit_remaining")
        reset, byok = entry.get("limit_reset"), entry.get("include_byok_in_limit")
        known = (
            all(field in entry for field in _LIMITS)
            and _is_money_or_null(entry["limit"])
            and _is_money_or_null(entry["limit_remaining"])
            # A cap of which nobody knows what is left must not be copied as "unlimited".
            and (limit is None or (limit >= 0 and remaining is not None))
            and (reset is None or reset in _RESETS)
            and isinstance(byok, bool)
        )
        if not known:
            self._report("limits")
        spent, byok_spent = self._number(entry, "usage"), self._number(entry, "byok_usage")
        disabled = entry.get("disabled")
        return IssuedKey(
            hash=key_hash,
            name=printable(name) if isinstance(name, str) else "",
            disabled=disabled if isinstance(disabled, bool) else False,
            created_at=self._instant(entry, "created_at"),
            expires_at=self._instant(entry, "expires_at"),
            last_used_at=self._instant(entry, "last_used_at"),
            usage=_sum(spent, byok_spent),
            limit=limit,
            limit_remaining=remaining,
            limit_reset=cast("LimitReset", reset) if reset in _RESETS else None,
            include_byok_in_limit=byok is True,
            limits_known=known,
            workspace_id=self._text(entry, "workspace_id"),
            creator_user_id=self._text(entry, "creator_user_id"),
        )

    def _number(self, entry: Mapping[str, Any], field: str) -> float | None:
        value = entry.get(field)
        if value is None:
            return None
        if not _is_money_or_null(value):
            self._report(field)
            return None
        return float(value)

    def _instant(self, entry: Mapping[str, Any], field: str) -> datetime | None:
        value = entry.get(field)
        if value is None:
            return None
        instant: datetime | None
        try:
            instant = datetime.fromisoformat(value)
            # The reference has UTC only, so an instant without a zone is in UTC.
            instant = instant.replace(tzinfo=instant.tzinfo or UTC).astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            instant = None
        if instant is not None and is_believable(instant):
            return instant
        self._report(field)
        return None

    def _text(self, entry: Mapping[str, Any], field: str) -> str | None:
        value = entry.get(field)
        if value is not None and not isinstance(value, str):
            self._report(field)
            return None
        return printable(value) if value else None

    def _report(self, field: str) -> None:
        if field not in self._reported:
            self._reported.add(field)
            _log.warning(
                "OpenRouter's answer has %s in a shape that this version does not know; "
                "it is taken as unknown, and not reported again",
                field,
            )


def _hash_of(entry: Mapping[str, Any]) -> str | None:
    value = entry.get("hash")
    return value.lower() if isinstance(value, str) and is_hash(value.lower()) else None


def _sum(one: float | None, other: float | None) -> float | None:
    """Return the sum of two amounts, or None where one is unknown or it has no end."""
    total = None if one is None or other is None else one + other
    return total if total is not None and math.isfinite(total) else None


def _is_money_or_null(value: Any) -> bool:
    """Tell whether a JSON value is null or a number that can be an amount of money."""
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
