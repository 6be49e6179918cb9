"""Reading what a caller sent to the simulated OpenRouter API: bodies and query values."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from rotator.sandbox.openrouter_key import Reset

_UTC_WITH_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class ApiError(Exception):
    """An answer of the OpenRouter API other than success."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.metadata = dict(metadata) if metadata is not None else None
        self.headers = dict(headers or {})

    def body(self, user_id: str) -> dict[str, Any]:
        """Return the error as the API's JSON shows it."""
        error: dict[str, Any] = {"code": self.status, "message": self.message}
        if self.metadata is not None:
            error["metadata"] = self.metadata
        return {"error": error, "user_id": user_id}


def read_body(raw: bytes) -> dict[str, Any]:
    """Return a call's JSON object; ApiError 400 for anything else."""
    try:
        body = json.loads(raw)
    except ValueError:
        raise ApiError(400, "Invalid JSON in the request body") from None
    if not isinstance(body, dict):
        raise ApiError(400, "Invalid request parameters: the body must be an object")
    return body


def _invalid(problem: str) -> ApiError:
    return ApiError(400, f"Invalid request parameters: {problem}")


def read_name(value: Any, *, may_be_empty: bool) -> str:
    """Return a key's name; ApiError 400 for anything else."""
    if not isinstance(value, str) or not (value or may_be_empty):
        raise _invalid(
            "name must be a string" + ("" if may_be_empty else " of at least 1 character")
        )
    return value


def read_flag(value: Any, field: str) -> bool:
    """Return a true or false; ApiError 400 for anything else."""
    if not isinstance(value, bool):
        raise _invalid(f"{field} must be a boolean")
    return value


def read_limit(value: Any) -> float | None:
    """Return a spending limit in USD or None; ApiError 400 for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid("limit must be a number or null")
    return float(value)


def read_reset(value: Any) -> Reset | None:
    """Return when a limit resets, or None for never; ApiError 400 for anything else."""
    if value not in {None, "daily", "weekly", "monthly"}:
        raise _invalid("limit_reset must be daily, weekly, monthly or null")
    return cast("Reset | None", value)


def read_text(value: Any, field: str) -> str | None:
    """Return an optional text of at least one character; ApiError 400 for anything else."""
    if value is not None and (not isinstance(value, str) or not value):
        raise _invalid(f"{field} must be a string of at least 1 character or null")
    return value


def read_uuid(value: Any, field: str) -> str:
    """Return a UUID as text; ApiError 400 for anything else."""
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise _invalid(f"{field} must be a UUID") from None


def read_expiry(value: Any, now: datetime) -> datetime | None:
    """Return an expiry, or None for none; ApiError 400 for anything but UTC (`Z`) with seconds.

    Other zones and precision of minutes are refused by the real API too; that it refuses the past
    is our guess.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not _UTC_WITH_SECONDS.fullmatch(value):
        raise _invalid("expires_at must be an ISO 8601 UTC time such as 2027-12-31T23:59:59Z")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _invalid("expires_at is no time") from None
    if moment <= now:
        raise _invalid("expires_at must be in the future")
    return moment


def read_query_flag(value: str | None, field: str) -> bool:
    """Return a query's true or false, False where left out; ApiError 400 for anything else."""
    if value is None or value == "false":
        return False
    if value == "true":
        return True
    raise _invalid(f"{field} must be true or false")


def read_query_number(value: str | None, field: str, *, default: int, least: int, most: int) -> int:
    """Return a query's number within its bounds; ApiError 400 for anything else."""
    if value is None or value in {"", "null"}:
        return default
    if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
        raise _invalid(f"{field} must be a number from {least} to {most}")
    return int(value)
