"""``rotator run`` with ``[http]``: served before Vault answers, and true to what the daemon does."""

from __future__ import annotations

import socket
import subprocess
import urllib.error
import urllib.request

from rotator.sandbox.faults import Fault, FaultKind
from tests.wiring.stand import CALM, DUE, Stand, eventually

VAULT_AWAY = Fault(kind=FaultKind.ERROR, api="vault", path="*", status=503, count=None)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def table(port: int, more: str = "") -> str:
    return f'\n[http]\nlisten = "127.0.0.1:{port}"\n{more}\n'


def asked(port: int, path: str) -> tuple[int, str]:
    """Status and body, or (0, "") where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def running(stand: Stand, port: int) -> subprocess.Popen[str]:
    process = stand.start("run")
    eventually(lambda: asked(port, "/healthz")[0] == 200, "it lives")
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.terminate()
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_it_lives_before_vault_answers_and_is_ready_after(stand: Stand) -> None:
    port = free_port()
    stand.sandbox.faults.add(VAULT_AWAY)
    stand.write(more=table(port))
    process = running(stand, port)
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


def test_page_and_metrics_follow_what_the_daemon_does(stand: Stand) -> None:
    port = free_port()
    stand.write(["a", "b"], policy=DUE, more=table(port))
    process = running(stand, port)
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
    port = free_port()
    stand.write(policy=CALM, more=table(port))
    stand.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR, api="openrouter", path="*", status=401, count=None)
    )
    process = running(stand, port)
    eventually(
        lambda: "rotator_management_key_refused 1.0" in asked(port, "/metrics")[1], "it is refused"
    )
    assert "OpenRouter refuses the management key" in asked(port, "/")[1]
    assert asked(port, "/healthz")[0] == 200
    assert ended(process)[0] == 0


def test_the_end_of_the_management_key_is_asked_for_after_a_full_comparison(stand: Stand) -> None:
    port = free_port()
    stand.write(policy=CALM, more=table(port))
    process = running(stand, port)
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
    assert result.returncode == 2
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
        port = free_port()
        stand.write(more=table(port, more).replace("127.0.0.1", "0.0.0.0"))  # noqa: S104
        process = running(stand, port)
        assert asked(port, "/")[0] == status
        assert asked(port, "/metrics")[0] == 200
        assert ended(process)[0] == 0
