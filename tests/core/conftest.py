"""The core is tested on a machine whose own time zone is an odd one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _a_zone_that_no_test_is_about() -> Iterator[None]:
    """Whatever asks for the local time, or takes one, gets a wrong answer."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Pacific/Chatham"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()
