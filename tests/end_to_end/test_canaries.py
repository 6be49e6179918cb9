"""No plaintext shows anywhere, whatever a server does: not at DEBUG, not where it is echoed."""

from __future__ import annotations

import base64
import itertools
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.bench import Place, SandboxProcess, eventually
from tests.end_to_end.echoing import ANYWHERE, TARGETS, WAYS, Echo, everything_written, leaks, unmet
from tests.end_to_end.proxy import Proxy, digest
from tests.servers.vault_server import VaultServer

POLICY = {
    "every": '"1h"',
    "grace": '"1s"',
    "drain": '{ quiet_for = "1s", deadline = "20s", then = "disable", evidence = "usage" }',
    "quarantine": '"1s"',
}

ROTATE = ("rotate", "--all", "--timeout", "1s")
REPORTS = (("status",), ("plan", "--json"), ("check",))

Commands = tuple[tuple[str, ...], ...]

FOR_EACH_TARGET: dict[str, Commands] = {
    "look": (("plan",), ROTATE),
    "mint": (ROTATE,),
    "verify": ((*ROTATE, "--json"),),
    "disable": ((*ROTATE, "--compromised"),),
    "delete": ((*ROTATE, "--compromised"), ("run", "--once")),
    "ledger read": (*REPORTS, (*ROTATE, "--json")),
    "ledger write": (("run", "--once", "--json"), ROTATE),
    "metadata": (("status",), ROTATE),
    "read": (ROTATE, ("run", "--once")),
    "publish": (ROTATE, ("run", "--once")),
}
"""Commands that are run while a route is spoilt: each target's calls in another way."""

ONCE: dict[str, Commands] = {
    "list": (("run", "--once"), ("run", "--once", "--json")),
    "whoami": (("check", "--json"), ("check",)),
    "installation": (("status", "--json"), ("hold", TARGETS[0], "--why", "x"), ("plan",)),
    "login": (("status",), ("check",), ("run", "--once")),
    "token": (("check",), ("check", "--json")),
    "health": (("check",), ("check", "--json")),
    "capabilities-self": (("check",), ("check", "--json")),
}
"""The same for routes that are called once by a process: each call is spoilt in another way."""

LONG = os.environ.get("ROTATOR_LONG", "").lower() in {"1", "true"}
ENOUGH = 0 if LONG else 8
"""So many ways may be unmet at a route that is called once by a process; none in the long form."""

BY_APPROLE = {"login", "token", "health", "capabilities-self", "ledger read", "read", ANYWHERE}
"""Routes whose place logs in with an AppRole; the others use a token."""

CASES = [
    *((route, True) for route in (*FOR_EACH_TARGET, *ONCE, ANYWHERE)),
    ("mint", False),
    (ANYWHERE, False),
]
"""A route, and whether keys and tokens have a form that no pattern could mask."""

PATIENCE = 200.0
"""Seconds until a daemon of which every third call goes wrong has met every way: most take 30."""

AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one case.

    Attributes:
        echo: what the proxies did.
        texts: everything that was written.
        secrets: everything that must not show.
    """

    echo: Echo
    texts: dict[str, str]
    secrets: frozenset[str]


def _one(
    folder: Path, sandbox: SandboxProcess, server: VaultServer, route: str, mask: bool
) -> Found:
    shown = f"management-key-of-no-kind-{secrets.token_hex(24)}"
    echo = Echo((shown if mask else sandbox.management_key, sandbox.management_key), mask)
    echo.secrets |= {shown, sandbox.management_key}
    folder.mkdir()
    with ExitStack() as stack:
        openrouter = stack.enter_context(Proxy(sandbox.url))
        vault = stack.enter_context(Proxy(server.address))
        place = Place(
            folder=folder,
            instance=folder.name,
            openrouter=openrouter.url,
            vault=vault.url,
            sandbox=sandbox,
            real_vault=server,
            targets=TARGETS,
            policy=POLICY,
            openrouter_more="writes_per_minute = 6000",
            daemon={"claim_timeout": '"8s"', "workers": str(len(TARGETS))},
            timeout="2s",
            management_key=echo.management_key[0],
        )
        stack.callback(place.close)
        if route in BY_APPROLE:
            echo.secrets.add(place.use_approle())
        else:
            echo.secrets.add(server.root_token)
        openrouter.meddle = vault.meddle = echo
        first = place.run("--log-level", "debug", "run", "--once")
        assert first.code == 0, first
        echo.route = route
        _give_commands(place, echo, route)
        echo.route = None
        texts = everything_written(place)
    return Found(echo, texts, frozenset(echo.secrets))


def _give_commands(place: Place, echo: Echo, route: str) -> None:
    """Run what meets a route, until it was spoilt in enough ways."""
    debug = ("--log-level", "debug")
    if route == ANYWHERE:
        place.configure(every='"2s"')
        daemon = place.start(*debug, "run")
        eventually(lambda: len(unmet(echo, route)) == 0, "each way at least once", PATIENCE)
        daemon.stop()
    commands = itertools.cycle(FOR_EACH_TARGET.get(route) or ONCE.get(route) or ())
    least = len(FOR_EACH_TARGET.get(route, ()))
    for number, command in zip(range(4 * len(WAYS)), commands, strict=False):
        if number >= least and len(unmet(echo, route)) <= (ENOUGH if route in ONCE else 0):
            break
        place.run(*debug, *command)


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess, vault_session: VaultServer
) -> Iterator[dict[tuple[str, bool], Future[Found]]]:
    """All cases, a few at a time."""
    vault_session.start()
    folder = tmp_path_factory.mktemp("canaries")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            (route, mask): pool.submit(
                _one, folder / f"canary-{number}", sandbox, vault_session, route, mask
            )
            for number, (route, mask) in enumerate(CASES)
        }


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("route", "mask"), CASES)
def test_no_plaintext_shows_though_a_server_echoes_it(
    found: dict[tuple[str, bool], Future[Found]], route: str, mask: bool
) -> None:
    what = found[route, mask].result()
    assert leaks(what.secrets, what.texts) == []
    assert len(unmet(what.echo, route)) <= (ENOUGH if route in ONCE else 0)
    assert len(what.secrets) > len(TARGETS)
    assert sum(map(len, what.texts.values())) > 10_000


def test_the_search_finds_what_it_searches_for() -> None:
    secret = "sk-or-v1-" + secrets.token_hex(32)
    assert leaks([secret], {"log": f"a line\nwith {secret[20:32]}, a part of it\n"}) == [
        "log: with <SECRET>, a part of it"
    ]
    encoded = base64.b64encode(secret.encode()).decode()
    assert leaks([secret], {"log": encoded})
    assert leaks([secret], {"log": secret[20:31], "digest": digest(secret)}) == []
