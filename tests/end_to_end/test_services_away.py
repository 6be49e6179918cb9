"""Services that are away, or answer with something else: a cause in one line, and no harm done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from rotator.sandbox.consumers import ConsumerFleet, Report
from tests.end_to_end.bench import Client, Done, Place, SandboxProcess, eventually
from tests.end_to_end.many_targets import Watcher
from tests.end_to_end.proxy import Answer, Forward, Meddler, Proxy, Request
from tests.servers.vault_server import VaultServer

POLICY = {
    "every": '"1h"',
    "grace": '"1s"',
    "drain": '{ quiet_for = "1s", deadline = "20s", then = "disable", evidence = "usage" }',
    "quarantine": '"1s"',
}
DUE_SOON = POLICY | {
    "every": '"8s"',
    "drain": '{ quiet_for = "1s", deadline = "6s", then = "disable", evidence = "usage" }',
}
EXPIRING = 'key = { expires_in = "30s" }'
"""A retry never waits longer than half of what the served key has left."""

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}
PAGE = b"<html><head><title>Bad gateway</title></head><body>no backend</body></html>"


def _instead(status: int, headers: dict[str, str], body: bytes) -> Meddler:
    return lambda request, forward: Answer(status, headers, body)


def _hung_up(request: Request, forward: Forward) -> Answer | None:
    return None


DENIED = b'{"errors": ["1 error occurred:\\n\\t* permission denied\\n\\n"]}'


def _without_the_secret(request: Request, forward: Forward) -> Answer | None:
    if "/apps/" in request.route:
        return Answer(403, JSON, DENIED)
    return forward()


@dataclass(frozen=True, slots=True)
class Outage:
    """One way of being away.

    Attributes:
        service: which of both.
        meddle: how its calls end.
        told: what the cause that people are told must say.
    """

    service: str
    meddle: Meddler
    told: str


OUTAGES = {
    "OpenRouter hangs up": Outage("openrouter", _hung_up, r"openrouter: .*connection"),
    "a proxy answers for OpenRouter": Outage(
        "openrouter", _instead(503, HTML, PAGE), r"openrouter: .*HTTP 503.*in between"
    ),
    "OpenRouter limits the rate": Outage(
        "openrouter",
        _instead(
            429, JSON | {"Retry-After": "2"}, b'{"error": {"code": 429, "message": "Slow down"}}'
        ),
        r"openrouter: .*HTTP 429.*Slow down",
    ),
    "Vault hangs up": Outage("vault", _hung_up, r"vault: .*connection"),
    "a proxy answers for Vault": Outage(
        "vault", _instead(502, HTML, PAGE), r"vault: .*answered 502"
    ),
    "Vault is sealed": Outage(
        "vault", _instead(503, JSON, b'{"errors": ["Vault is sealed"]}'), r"vault: .*sealed"
    ),
    "Vault refuses the token": Outage(
        "vault", _instead(403, JSON, DENIED), r"vault: .*refuses the token"
    ),
    "Vault forbids the secret": Outage("vault", _without_the_secret, r"vault: .*denie[sd]"),
    "Vault limits the rate": Outage(
        "vault",
        _instead(429, JSON, b'{"errors": ["request path \\"x\\": rate limit quota exceeded"]}'),
        r"vault: .*(429|rate limit)",
    ),
}


@dataclass(frozen=True, slots=True)
class Story:
    """What came of an outage.

    Attributes:
        untouched: whether the secret stayed as it was while the service was away.
        log: what the daemon had logged by its end.
        command: how a rotation by hand ended meanwhile.
        stopped: how the daemon ended.
        orphans: enabled keys that nothing accounted for in the end.
        consumers: what the consumers saw.
    """

    untouched: bool
    log: str
    command: Done
    stopped: Done
    orphans: list[str]
    consumers: Report


def _live_through(
    folder: Path, sandbox: SandboxProcess, server: VaultServer, outage: Outage
) -> Story:
    folder.mkdir()
    with ExitStack() as stack:
        proxies = {
            "openrouter": stack.enter_context(Proxy(sandbox.url)),
            "vault": stack.enter_context(Proxy(server.address)),
        }
        place = Place(
            folder=folder,
            instance=folder.name,
            openrouter=proxies["openrouter"].url,
            vault=proxies["vault"].url,
            sandbox=sandbox,
            real_vault=server,
            targets=("billing",),
            policy=DUE_SOON,
            target_more=EXPIRING if outage.service == "openrouter" else "",
            timeout="2s",
            daemon={"claim_timeout": '"8s"', "resync": '"3s"'},
        )
        stack.callback(place.close)
        daemon = place.start("run")
        eventually(lambda: place.at_rest("billing"), "a first key")
        before = place.served("billing")
        fleet = stack.enter_context(
            ConsumerFleet(
                [place.consumer_of("billing")],
                openrouter_url=sandbox.url,
                vault_url=server.address,
                vault_token=server.root_token,
                rate=5,
                cache_for=0.3,
            )
        )
        proxies[outage.service].meddle = outage.meddle
        told = re.compile(outage.told)
        eventually(lambda: told.search(daemon.err), f"the cause in the log: {outage.told}")
        command = place.run("rotate", "billing", "--timeout", "10s")
        untouched = place.served("billing") == before
        proxies[outage.service].meddle = lambda request, forward: forward()
        eventually(lambda: place.served("billing").hash != before.hash, "a rotation after it")
        watcher = Watcher(place)
        watcher.sample()
        stopped = daemon.stop()
        log = daemon.err
    return Story(untouched, log, command, stopped, watcher.orphans, fleet.report())


@pytest.fixture(scope="module")
def stories(
    tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess, vault_session: VaultServer
) -> Iterator[dict[str, Future[Story]]]:
    """All outages side by side, and beside the two tests that come first."""
    vault_session.start()
    folder = tmp_path_factory.mktemp("away")
    with ThreadPoolExecutor(len(OUTAGES)) as pool:
        yield {
            name: pool.submit(
                _live_through, folder / f"away-{number}", sandbox, vault_session, outage
            )
            for number, (name, outage) in enumerate(OUTAGES.items())
        }


@pytest.mark.usefixtures("stories")
def test_a_rotation_on_demand_whose_key_is_not_accepted_makes_one_key_and_removes_it(
    make_place: Callable[..., Place],
) -> None:
    def nobody_is_known(request: Request, forward: Forward) -> Answer | None:
        if request.route == "/api/v1/key":
            return Answer(500, JSON, b'{"error": {"code": 500, "message": "Out of order"}}')
        return forward()

    place = make_place(policy=POLICY, daemon={"claim_timeout": '"4s"'}, timeout="1s")
    with Proxy(place.openrouter) as openrouter:
        place.openrouter = openrouter.url
        assert place.run("run", "--once").code == 0
        before = place.served("billing")
        openrouter.meddle = nobody_is_known
        done = place.run("rotate", "billing", "--timeout", "1s", "--json")
    assert (done.code, done.json["targets"][0]["reason"]) == (1, "outage")
    assert place.served("billing") == before
    made = [key for key in place.minted() if key.hash != before.hash]
    assert [key.deleted for key in made] == [True]
    book = place.ledger("billing")
    assert book is not None
    assert book["retiring"] == []


@pytest.mark.usefixtures("stories")
def test_a_publish_that_is_forbidden_leaves_the_secret_and_no_key_behind(
    make_place: Callable[..., Place],
) -> None:
    def read_only(request: Request, forward: Forward) -> Answer | None:
        if "/data/" in request.route and "/apps/" in request.route and request.method != "GET":
            return Answer(403, JSON, DENIED)
        return forward()

    place = make_place(
        policy=POLICY, daemon={"claim_timeout": '"4s"', "resync": '"2s"'}, timeout="1s"
    )
    with Proxy(place.vault) as vault:
        place.vault = vault.url
        daemon = place.start("run")
        eventually(lambda: place.at_rest("billing"), "a first key")
        before = place.served("billing")
        vault.meddle = read_only
        done = place.run("rotate", "billing", "--json")
        assert place.served("billing") == before
        vault.meddle = lambda request, forward: forward()
        eventually(lambda: place.at_rest("billing"), "the end of its claim")
        eventually(
            lambda: [key.hash for key in place.minted() if not key.deleted] == [before.hash],
            "the removal of the key that was not published",
        )
        assert place.served("billing").hash == before.hash
        assert daemon.stop().code == 0
    assert (done.code, done.json["targets"][0]["reason"]) == (1, "refused")
    assert "permission denied" in done.json["targets"][0]["detail"]


@pytest.mark.parametrize("name", OUTAGES)
def test_a_service_that_is_away_is_told_in_a_line_and_work_goes_on_when_it_returns(
    stories: dict[str, Future[Story]], name: str
) -> None:
    story, told = stories[name].result(), OUTAGES[name].told
    assert story.untouched
    assert story.command.code == 1, story.command
    lines = story.command.err.splitlines()
    assert any(re.match(f"rotator: .*{told}", line) for line in lines), lines
    assert "Traceback" not in story.command.err + story.log
    assert story.stopped.code == 0, story.log
    assert story.orphans == []
    assert story.consumers.failures == ()


def test_a_sealed_vault_is_named_as_such_and_nothing_is_touched(
    make_place: Callable[..., Place], real_vault: VaultServer
) -> None:
    place = make_place(policy=POLICY)
    assert place.run("run", "--once").code == 0
    before = place.served("billing")
    # The log goes on where an earlier test restarted the server, which then had another key.
    unseal_key = re.findall(r"Unseal Key: (\S+)", real_vault.log)[-1]
    place.client.call("PUT", "/v1/sys/seal")
    try:
        told = [place.run(*command) for command in (("status",), ("rotate", "billing"), ("check",))]
    finally:
        with closing(Client(real_vault.address)) as anybody:
            anybody.call("PUT", "/v1/sys/unseal", {"key": unseal_key})
    eventually(lambda: place.client.call("GET", "/v1/sys/health")[0] == 200, "an unsealed Vault")
    assert [done.code for done in told] == [1, 1, 1]
    assert all("sealed" in done.err + done.out for done in told), told
    assert not any("Traceback" in done.err for done in told)
    assert place.served("billing") == before
    assert place.not_clean("billing") == []
