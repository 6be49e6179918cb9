"""The bench of the end-to-end tests: one sandbox for all of them, and places that clean up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.bench import Place, SandboxProcess
from tests.servers.vault_server import VaultServer

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[SandboxProcess]:
    """An OpenRouter of our own in a process of its own, without faults."""
    with SandboxProcess() as running:
        yield running


@pytest.fixture
def make_place(
    tmp_path: Path, sandbox: SandboxProcess, real_vault: VaultServer
) -> Iterator[Callable[..., Place]]:
    """Makes places; their processes are ended with the test."""
    places: list[Place] = []

    def make(**settings: Any) -> Place:
        instance = f"place-{next(_NUMBERS)}"
        folder = tmp_path / instance
        folder.mkdir()
        settings = {
            "openrouter": sandbox.url,
            "vault": real_vault.address,
            "targets": ("billing",),
            **settings,
        }
        place = Place(
            folder=folder, instance=instance, sandbox=sandbox, real_vault=real_vault, **settings
        )
        places.append(place)
        return place

    yield make
    for place in places:
        place.close()
