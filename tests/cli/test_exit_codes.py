"""The contract of exit codes: 0 done, 1 failed, 2 usage, 3 attention."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.wiring.stand import BLOCKING, DUE, Stand, eventually

Arrange = Callable[[Stand], None]


def nothing(stand: Stand) -> None:
    """A fresh account and a fresh Vault."""


def served(stand: Stand) -> None:
    result = stand.call("run", "--once")
    assert result.exit_code == 0, result.output


def held(stand: Stand) -> None:
    served(stand)
    assert stand.call("hold", "billing-api", "--why", "lunch").exit_code == 0


def foreign(stand: Stand) -> None:
    stand.put("not-a-key-of-this-account")
    assert stand.call("run", "--once").exit_code == 3


def blocked(stand: Stand) -> None:
    stand.write(policy=BLOCKING)
    served(stand)
    assert stand.call("rotate", "billing-api").exit_code == 0
    eventually(lambda: stand.call("run", "--once").exit_code == 3, "the old key is blocked")


def overdue(stand: Stand) -> None:
    """An adopted key from long ago, held, older than max_age."""
    stand.times.shift = -timedelta(days=50)
    stand.put(stand.make_key())
    stand.times.shift = timedelta()
    stand.write(policy='every = "60d"\nmax_age = "90d"\ngrace = "1d"')
    served(stand)
    assert stand.call("hold", "billing-api", "--why", "lunch").exit_code == 0
    stand.write(policy='every = "30d"\nmax_age = "40d"\ngrace = "1d"')


def refused_management_key(stand: Stand) -> None:
    stand.environment["STAND_MANAGEMENT_KEY"] = "sk-or-mgmt-wrong"


def refused_while_due(stand: Stand) -> None:
    served(stand)
    stand.write(policy=DUE)
    eventually(lambda: '"due"' in stand.call("status", "--json").stdout, "the target is due")
    refused_management_key(stand)


def sealed(stand: Stand) -> None:
    stand.sandbox.vault.sealed = True


def broken_file(stand: Stand) -> None:
    stand.path.write_text("instance = 3\n")


def missing_reference(stand: Stand) -> None:
    stand.write(management_key='{ env = "NOT_SET" }')


TABLE: list[tuple[Arrange, str, int]] = [
    (nothing, "status", 0),
    (nothing, "plan", 0),
    (nothing, "run --once", 0),
    (nothing, "rotate billing-api", 0),
    (nothing, "rotate --all", 0),
    (nothing, "hold billing-api --why x", 1),
    (nothing, "retire billing-api", 1),
    (nothing, "rollback billing-api", 1),
    (nothing, "check", 0),
    (nothing, "check --offline", 0),
    (nothing, "completion bash", 0),
    (nothing, "--version", 0),
    (nothing, "--help", 0),
    (served, "status", 0),
    (served, "plan", 0),
    (served, "run --once", 0),
    (served, "hold billing-api --why x", 0),
    (served, "release billing-api", 0),
    (served, "retire billing-api", 0),
    (served, "rollback billing-api", 1),
    (held, "status", 0),
    (held, "plan", 0),
    (held, "run --once", 0),
    (held, "rotate --all", 0),
    (held, "rotate billing-api", 0),
    (foreign, "status", 3),
    (foreign, "plan", 3),
    (foreign, "run --once", 3),
    (foreign, "rotate billing-api", 3),
    (foreign, "rotate --all", 3),
    (foreign, "rotate billing-api --overwrite-foreign", 0),
    (blocked, "status", 3),
    (blocked, "plan", 3),
    (blocked, "run --once", 3),
    (foreign, "rollback billing-api", 3),
    (blocked, "rollback billing-api", 0),
    (blocked, "retire billing-api", 0),
    (overdue, "status", 3),
    (refused_management_key, "run --once", 3),
    (refused_management_key, "rotate billing-api", 3),
    (refused_management_key, "check", 3),
    (refused_management_key, "status", 0),
    (refused_while_due, "plan", 3),
    (sealed, "status", 1),
    (sealed, "plan", 1),
    (sealed, "run --once", 1),
    (sealed, "rotate billing-api --timeout 1s", 1),
    (sealed, "rollback billing-api --timeout 1s", 1),
    (sealed, "check", 1),
    (broken_file, "status", 2),
    (broken_file, "run", 2),
    (broken_file, "check --offline", 2),
    (missing_reference, "rotate billing-api", 2),
    (missing_reference, "status", 0),
    (missing_reference, "check", 1),
    (nothing, "rotate", 2),
    (nothing, "rotate billing-api --all", 2),
    (nothing, "rotate nobody", 2),
    (nothing, "rollback", 2),
    (nothing, "rollback nobody", 2),
    (served, "rollback billing-api 0123456789abcdef", 2),
    (nothing, "rotate billing-api --timeout soon", 2),
    (nothing, "hold billing-api", 2),
    (nothing, "run --json", 2),
    (nothing, "frobnicate", 2),
    (nothing, "audit verify /nowhere", 2),
]


@pytest.mark.parametrize(
    ("arrange", "words", "code"),
    TABLE,
    ids=[f"{arrange.__name__}: {words}" for arrange, words, _ in TABLE],
)
def test_a_command_ends_with_the_code_that_its_outcome_means(
    stand: Stand, arrange: Arrange, words: str, code: int
) -> None:
    arrange(stand)
    result = stand.call(*words.split())
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output


def test_an_error_of_the_configuration_is_printed_as_its_lines(stand: Stand) -> None:
    stand.path.write_text('instance = 3\n[openrouter]\nbase_url = "ftp://x"\n')
    result = stand.run("status")
    lines = result.stderr.splitlines()
    assert result.returncode == 2
    assert len(lines) >= 3
    assert all(line.startswith("rotator: ") for line in lines)
    assert any("rotator.toml:1" in line for line in lines)


def test_a_target_that_becomes_due_needs_no_person(stand: Stand) -> None:
    served(stand)
    stand.write(policy=DUE)
    assert eventually(lambda: " now " in stand.call("status").stdout, "the target is due")
    assert stand.call("status").exit_code == 0


def test_an_address_that_is_taken_for_now_is_a_failure_that_systemd_tries_again(
    stand: Stand,
) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        stand.write(more=f'[http]\nlisten = "127.0.0.1:{busy.getsockname()[1]}"\n')
        done = stand.run("run")
    assert done.returncode == 1, done.stderr
    assert "cannot listen on 127.0.0.1:" in done.stderr
