"""One workspace of a simulated OpenRouter account."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rotator.sandbox.openrouter_key import render_time


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace: keys, guardrails, BYOK credentials and destinations live in one each."""

    id: str
    """A UUID."""
    name: str
    slug: str
    created_at: datetime

    @property
    def default_guardrail_id(self) -> str:
        """The id of the guardrail that covers all its traffic."""
        return str(uuid.uuid5(uuid.UUID(self.id), "guardrail"))

    def as_listed(self, created_by: str) -> dict[str, Any]:
        """Return the object that `GET /workspaces` answers with."""
        return {
            "id": self.id,
            "name": self.name,
            "slug": self.slug,
            "description": None,
            "created_at": render_time(self.created_at),
            "created_by": created_by,
            "updated_at": None,
            "default_guardrail_id": self.default_guardrail_id,
            "default_text_model": None,
            "default_image_model": None,
            "default_provider_sort": None,
            "include_byok_in_budgets": False,
            "io_logging_api_key_ids": None,
            "io_logging_sampling_rate": 1,
            "is_data_discount_logging_enabled": False,
            "is_observability_broadcast_enabled": False,
            "is_observability_io_logging_enabled": False,
        }
