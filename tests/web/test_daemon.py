"""``rotator run`` with ``[http]``: served before Vault answers, and true to what the daemon does."""

from __future__ import annotations

import re
import socket
import subprocess
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from rotator.core.keys import CallerKey
from rotator.daemon.serving import DaemonSource
from rotator.errors import ServiceError, Transient
from rotator.sandbox.faults import Fault, FaultKind
from rotator.web import Vitals
from tests.fakes.clock import FakeClock
from tests.wiring.stand import CALM, DUE, Stand, eventually

VAULT_AWAY = Fault(kind=FaultKind.ERROR, api="vault", path="*", status=503, count=None)


def table(port: int = 0, more: str = "", host: str = "127.0.0.1") -> str:
    """The configuration of the server; port 0 takes any free one, which the log tells."""
    return f'\n[http]\nlisten = "{host}:{port}"\n{more}\n'


def asked(port: int, path: str) -> tuple[int, str]:
    """Status and body, or (0, "") where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def running(stand: Stand) -> tuple[subprocess.Popen[str], int]:
    """A daemon that serves, and its port."""
    process = stand.start("run")
    assert process.stderr is not None
    for line in iter(process.stderr.readline, ""):
        if '"serving HTTP"' in line:
            port = int(re.findall(r'"address":"[^"]*:(\d+)"', line)[0])
            assert asked(port, "/healthz")[0] == 200
            return process, port
    raise AssertionError("it ended without serving")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.terminate()
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_it_lives_before_vault_answers_and_is_ready_after(stand: Stand) -> None:
    stand.sandbox.faults.add(VAULT_AWAY)
    stand.write(more=table())
    process, port = running(stand)
    assert asked(port, "/readyz") == (503, "Vault has not let us in yet\n")
    assert "Waiting for Vault" in asked(port, "/")[1]
    assert "rotator_ready 0.0" in asked(port, "/metrics")[1]
    stand.sandbox.faults.clear()
    eventually(lambda: asked(port, "/readyz")[0] == 200, "Vault lets it in")
    eventually(lambda: "The one target is in order" in asked(port, "/")[1], "a first key")
    stand.sandbox.faults.add(VAULT_AWAY)
    assert asked(port, "/readyz")[0] == 200
    assert asked(port, "/healthz")[0] == 200
    assert ended(process)[0] == 0


def test_of_two_replicas_one_shows_the_targets_and_both_are_ready(stand: Stand) -> None:
    stand.write(more=table())
    first, one = running(stand)
    eventually(lambda: "rotator_leader 1.0" in asked(one, "/metrics")[1], "the first one acts")
    second, other = running(stand)
    eventually(lambda: "This replica stands by: " in asked(other, "/")[1], "the second one waits")
    assert "rotator_leader 0.0" in asked(other, "/metrics")[1]
    assert "rotator_target_" not in re.sub("# .*", "", asked(other, "/metrics")[1])
    eventually(lambda: "The one target is in order" in asked(one, "/")[1], "the first key")
    assert asked(other, "/readyz")[0] == asked(one, "/readyz")[0] == 200
    assert ended(first)[0] == 0
    eventually(lambda: "The one target is in order" in asked(other, "/")[1], "it takes over")
    assert ended(second)[0] == 0


def test_page_and_metrics_follow_what_the_daemon_does(stand: Stand) -> None:
    stand.write(["a", "b"], policy=DUE, more=table())
    process, port = running(stand)
    created = 'rotator_steps_total{result="done",step="key.create"}'

    def mints() -> float:
        found = [
            line for line in asked(port, "/metrics")[1].splitlines() if line.startswith(created)
        ]
        return float(found[0].split()[-1]) if found else 0.0

    eventually(lambda: mints() >= 4, "rotations are counted")
    text = asked(port, "/metrics")[1]
    assert 'rotator_target_retiring_keys{target="a"}' in text
    assert "rotator_leader 1.0" in text
    page = asked(port, "/")[1]
    assert "key.create" in page
    assert "secret/apps/a" in page
    for canary in (stand.value("a"), stand.sandbox.management_key, stand.sandbox.vault_token):
        assert canary not in page
        assert canary not in text
    assert "sk-or-" not in page + text
    assert ended(process)[0] == 0


def test_a_refused_management_key_shows_and_does_not_end_the_process(stand: Stand) -> None:
    stand.write(policy=CALM, more=table())
    stand.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR, api="openrouter", path="*", status=401, count=None)
    )
    process, port = running(stand)
    eventually(
        lambda: "rotator_management_key_refused 1.0" in asked(port, "/metrics")[1], "it is refused"
    )
    assert "OpenRouter refuses the management key" in asked(port, "/")[1]
    assert asked(port, "/healthz")[0] == 200
    assert ended(process)[0] == 0


def test_the_end_of_the_management_key_is_asked_for_after_a_full_comparison(stand: Stand) -> None:
    stand.write(policy=CALM, more=table())
    process, port = running(stand)
    name = "rotator_management_key_expiry_timestamp_seconds"
    eventually(lambda: stand.sandbox.calls.count("openrouter", "GET", "/key"), "the question")
    eventually(lambda: f"{name} " in asked(port, "/metrics")[1], "the answer")
    assert ended(process)[0] == 0


def test_a_port_that_is_taken_is_told_at_the_start(stand: Stand) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stand.write(more=table(taken.getsockname()[1]))
        result = stand.run("run")
    assert result.returncode == 1
    assert "http.listen" in result.stderr
    assert "in use" in result.stderr
    assert stand.issued() == {}


def test_one_pass_serves_nothing(stand: Stand) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stand.write(more=table(taken.getsockname()[1]))
        assert stand.run("run", "--once").returncode == 0


def test_elsewhere_than_on_loopback_the_page_has_to_be_asked_for(stand: Stand) -> None:
    for more, status in (("", 404), ("page = true", 200)):
        stand.write(more=table(0, more, "0.0.0.0"))  # noqa: S104
        process, port = running(stand)
        assert asked(port, "/")[0] == status
        assert asked(port, "/metrics")[0] == 200
        assert ended(process)[0] == 0


class Life:
    """A daemon of which only the life is asked for."""

    def __init__(
        self, *, age: float | None, broken: str | None = None, reached: bool = True
    ) -> None:
        self._age, self._broken, self._reached = age, broken, reached
        self.config = SimpleNamespace(
            daemon=SimpleNamespace(heartbeat=timedelta(seconds=30)),
        )

    def broken(self) -> str | None:
        return self._broken

    def heartbeat_age(self) -> float | None:
        return self._age

    def world(self) -> object | None:
        return object() if self._reached else None


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        (Life(age=None, reached=False), Vitals(None, ready=False)),
        (Life(age=0.0, reached=False), Vitals(None, ready=False)),
        (Life(age=119.0), Vitals(None, ready=True)),
        (Life(age=121.0), Vitals("no heartbeat for 121 s", ready=True)),
        (Life(age=1.0, broken="a worker's thread has died"),
         Vitals("a worker's thread has died", ready=True)),
    ],
)  # fmt: skip
def test_it_lives_as_long_as_its_heart_beats_and_no_thread_is_dead_or_wedged(
    life: Life, expected: Vitals
) -> None:
    assert DaemonSource(life, FakeClock()).vitals() == expected  # type: ignore[arg-type]


def test_the_end_of_the_management_key_is_kept_while_it_cannot_be_asked_for() -> None:
    ends = datetime(2027, 1, 1, tzinfo=UTC)
    answers: list[CallerKey | ServiceError] = [
        CallerKey(is_management_key=True, expires_at=ends),
        Transient("openrouter", "ask about the management key", "503"),
    ]

    def asked_about() -> CallerKey:
        answer = answers.pop(0)
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    world = SimpleNamespace(issuer=SimpleNamespace(whoami_management=asked_about))
    source = DaemonSource(SimpleNamespace(world=lambda: world), FakeClock())  # type: ignore[arg-type]
    for _ in range(2):
        source.ask_about_key()
        assert source._key_expires_at == ends
    assert answers == []
