"""A service that is away, sealed, forbidding or replaced by a proxy's page: told in one line."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from rotator.sandbox.faults import Fault, FaultKind
from tests.wiring.stand import DUE, Stand, eventually

Arrange = Callable[[Stand], None]

HTML = "<html><body>Bad Gateway</body></html>"


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def vault_down(stand: Stand) -> None:
    stand.write(vault=f"http://127.0.0.1:{closed_port()}")


def vault_sealed(stand: Stand) -> None:
    stand.sandbox.vault.sealed = True


def token_without_rights(stand: Stand) -> None:
    stand.environment["STAND_VAULT_TOKEN"] = stand.sandbox.tokens.add_token(("default",))


def token_revoked(stand: Stand) -> None:
    stand.sandbox.tokens.revoke(stand.sandbox.vault_token)


def struck(api: str, kind: FaultKind, status: int = 500) -> Arrange:
    """Every call of one API goes wrong."""

    def arrange(stand: Stand) -> None:
        stand.sandbox.faults.add(Fault(kind=kind, api=api, status=status, count=None))

    arrange.__name__ = f"{api}_{kind}_{status}"
    return arrange


def openrouter_down(stand: Stand) -> None:
    stand.write(openrouter=f"http://127.0.0.1:{closed_port()}/api/v1")


VAULT_AWAY: list[tuple[Arrange, str]] = [
    (vault_down, "connect"),
    (vault_sealed, "sealed"),
    (token_without_rights, "permission denied; needs read on"),
    (token_revoked, "refuses the token"),
    (struck("vault", FaultKind.RATE_LIMIT), "vault"),
    (struck("vault", FaultKind.HTML, 502), "vault"),
    (struck("vault", FaultKind.CUT), "vault"),
]

OPENROUTER_AWAY: list[Arrange] = [
    openrouter_down,
    struck("openrouter", FaultKind.ERROR, 403),
    struck("openrouter", FaultKind.ERROR, 500),
    struck("openrouter", FaultKind.RATE_LIMIT),
    struck("openrouter", FaultKind.HTML, 502),
    struck("openrouter", FaultKind.CUT),
]


def told(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line]


@pytest.mark.parametrize("words", ["status", "plan", "run --once", "rotate billing-api"])
@pytest.mark.parametrize(
    ("arrange", "cause"), VAULT_AWAY, ids=[arrange.__name__ for arrange, _ in VAULT_AWAY]
)
def test_a_vault_that_is_away_is_told_in_one_line_and_nothing_changes(
    stand: Stand, arrange: Arrange, cause: str, words: str
) -> None:
    before = stand.state()
    arrange(stand)
    result = stand.call("--log-level", "error", *words.split())
    assert result.exit_code == 1, result.output
    lines = told(result.stderr)
    assert len(lines) == 1, result.output
    assert lines[0].startswith("rotator: vault: ")
    assert cause in lines[0]
    assert "<html" not in result.output
    assert stand.state() == before


@pytest.mark.parametrize("arrange", OPENROUTER_AWAY, ids=lambda each: each.__name__)
def test_an_openrouter_that_is_away_leaves_the_served_key_as_it_is(
    stand: Stand, arrange: Arrange
) -> None:
    assert stand.call("run", "--once").exit_code == 0
    stand.write(policy=DUE)
    eventually(lambda: '"due"' in stand.call("status", "--json").stdout, "the target is due")
    served, keys = stand.served(), stand.issued()
    arrange(stand)
    if arrange is openrouter_down:
        stand.write(policy=DUE, openrouter=f"http://127.0.0.1:{closed_port()}/api/v1")
    assert stand.call("status").exit_code == 0, "status asks OpenRouter nothing"
    plan = stand.call("plan")
    assert plan.exit_code in (1, 3)
    assert len(told(plan.stderr)) == 1
    assert told(plan.stderr)[0].startswith("rotator: openrouter: get key: ")
    once = stand.call("run", "--once")
    assert once.exit_code in (1, 3)
    assert stand.served() == served
    assert stand.issued() == keys


def test_a_page_of_a_proxy_is_not_repeated_on_the_terminal(stand: Stand) -> None:
    page = "<html>\x1b[2J\x1b]0;owned\x07 [red]markup[/red]</html>"
    stand.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR, api="vault", status=502, count=None, body=page)
    )
    result = stand.call("status")
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert "\x07" not in result.output
