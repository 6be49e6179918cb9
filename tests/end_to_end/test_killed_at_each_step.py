"""SIGKILL at each step of a rotation, and a start after it: nothing is lost, nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.end_to_end.bench import Place, SandboxProcess, verified
from tests.end_to_end.killing import (
    DAEMON,
    POLICY,
    STEPS,
    TARGET,
    TIMEOUT,
    Aftermath,
    rotate_and_kill,
)
from tests.end_to_end.proxy import Proxy
from tests.servers.vault_server import VaultServer

AT_ONCE = 6
"""So many cases are under way at a time: each waits most of the time, yet none shall be starved."""

pytestmark = pytest.mark.timeout(900)  # a test may have to wait for all cases before its own

Case = tuple[str | None, bool]
"""A step, and whether the server has acted when the process dies. None: it lives on."""

UNDISTURBED: Case = (None, False)
CASES: list[Case] = [UNDISTURBED, *((step, after) for step in STEPS for after in (False, True))]


def _one(folder: Path, sandbox: SandboxProcess, server: VaultServer, case: Case) -> Aftermath:
    step, after = case
    with ExitStack() as stack:
        openrouter = stack.enter_context(Proxy(sandbox.url))
        vault = stack.enter_context(Proxy(server.address))
        folder.mkdir()
        place = Place(
            folder=folder,
            instance=folder.name,
            openrouter=openrouter.url,
            vault=vault.url,
            sandbox=sandbox,
            real_vault=server,
            targets=(TARGET,),
            policy=POLICY,
            daemon=DAEMON,
            timeout=TIMEOUT,
        )
        stack.callback(place.close)
        try:
            return rotate_and_kill(place, openrouter, vault, step, after)
        except AssertionError as error:
            left = f"{place.not_clean(TARGET)}\n{place.ledger(TARGET)}"
            raise AssertionError(f"{error}\n{left}\n{place.story()}") from error


@pytest.fixture(scope="module")
def aftermath(
    tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess, vault_session: VaultServer
) -> Iterator[dict[Case, Future[Aftermath]]]:
    """All cases, a few at a time."""
    vault_session.start()
    folder = tmp_path_factory.mktemp("killed")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            case: pool.submit(_one, folder / f"killed-{number}", sandbox, vault_session, case)
            for number, case in enumerate(CASES)
        }


def _ends_well(found: Aftermath) -> None:
    assert found.problems == (), found.story
    assert found.served != found.first, found.story
    assert found.consumers.failures == (), found.story
    assert found.consumers.calls > 20
    assert found.stopped.code == 0, found.story
    verdict = verified([found.audit])
    assert verdict.code == 0, verdict.out


def test_an_undisturbed_rotation_takes_the_steps_that_processes_are_killed_at(
    aftermath: dict[Case, Future[Aftermath]],
) -> None:
    found = aftermath[UNDISTURBED].result()
    assert found.seen == STEPS, found.story
    _ends_well(found)


@pytest.mark.parametrize("after", [False, True], ids=["before it takes effect", "after its effect"])
@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_a_step_leaves_nothing_that_the_next_one_does_not_put_right(
    aftermath: dict[Case, Future[Aftermath]], step: str, after: bool
) -> None:
    found = aftermath[step, after].result()
    assert found.seen == STEPS[: STEPS.index(step) + 1], found.story
    _ends_well(found)
