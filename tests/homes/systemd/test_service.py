"""The service in a booted systemd: start, reload, signals, crashes, stops, credentials, logs."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from rotator.sandbox.faults import Fault, FaultKind
from tests.homes.systemd.conftest import Home
from tests.servers.vault_server import free_port
from tests.wiring.stand import CALM, DUE, eventually

pytestmark = pytest.mark.timeout(300)

WATCHED = "[Service]\nWatchdogSec=3s\nRestartSec=100ms\n"

WEDGED = """\
import threading
from rotator.cli import main
from rotator.daemon.loop import Daemon

beat = Daemon._heartbeat
def wedge(self):
    beat(self)
    if self.status().resync is not None and not __import__("os").path.exists("/run/not-wedged"):
        threading.Event().wait()
Daemon._heartbeat = wedge
import sys
sys.argv = ["rotator", "--config", "/etc/rotator/config.toml", "run"]
main()
"""


@contextmanager
def forwarded(port: int, to: str) -> Iterator[None]:
    """Pass on what arrives at a port, as a Vault that has come up there."""
    host, _, its_port = to.removeprefix("http://").partition(":")
    listener = socket.create_server(("127.0.0.1", port))

    ends: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def pump(here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while data := here.recv(65536):
                there.sendall(data)
            there.shutdown(socket.SHUT_WR)

    def begin(work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        threads.append(thread)

    def serve() -> None:
        with suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection((host, int(its_port)))
                ends.extend((here, there))
                begin(pump, here, there)
                begin(pump, there, here)

    begin(serve)
    try:
        yield
    finally:
        for each in (listener, *ends):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(30)
        for each in (listener, *ends):
            each.close()


def restarts(home: Home) -> int:
    return int(home.machine.property("NRestarts"))


def test_it_is_up_while_vault_is_away_and_goes_on_by_itself(home: Home) -> None:
    port = free_port()
    (name,) = home.names()
    home.configure([name], vault=f"http://127.0.0.1:{port}")
    home.machine.systemctl("start", "rotator.service")
    assert home.machine.property("ActiveState") == "active"
    eventually(lambda: home.status_line() == "waiting for Vault", "it says what it waits for")
    with forwarded(port, home.vault.address):
        home.is_served(name)
        eventually(lambda: home.status_line() == "one target", "it says how it does", 60)


def test_a_reload_takes_a_good_file_and_keeps_the_old_one_instead_of_a_bad_one(home: Home) -> None:
    names = home.names(2)
    home.start(names[:1])
    home.configure(names)
    home.machine.systemctl("reload", "rotator.service")
    home.is_served(names[1])
    pid = home.main_pid()
    good = home.configure(names)
    home.machine.write("/etc/rotator/config.toml", good + "[[target]]\n")
    home.machine.systemctl("reload", "rotator.service")
    eventually(lambda: "could not be taken" in home.status_line(), "the status says so")
    assert "the configuration stays as it was" in home.machine.journal()
    home.machine.write("/etc/rotator/config.toml", good.replace("rotator/prod", "rotator/other"))
    home.machine.systemctl("reload", "rotator.service")
    eventually(lambda: "vault.state cannot change" in home.machine.journal(), "it says why")
    home.machine.write("/etc/rotator/config.toml", good)
    home.machine.systemctl("reload", "rotator.service")
    eventually(lambda: home.status_line() == "2 targets", "all is well again")
    assert home.main_pid() == pid
    assert home.machine.property("ActiveState") == "active"


def test_usr1_rotates_every_target_once(home: Home) -> None:
    names = home.names(3)
    home.start(names)
    before = {name: home.is_served(name) for name in names}
    home.machine.systemctl("kill", "--kill-whom=main", "-s", "USR1", "rotator.service")
    for name in names:
        home.is_served(name, other_than=before[name])
    assert [len(home.issued(name)) for name in names] == [2, 2, 2]


def test_the_rotate_unit_rotates_one_target_beside_the_daemon(home: Home) -> None:
    names = home.names(2)
    home.start(names)
    before = home.is_served(names[0])
    home.machine.systemctl("start", f"rotator-rotate@{names[0]}.service")
    assert home.value(names[0]) != before, "it has returned, so the new key is served"
    assert len(home.issued(names[1])) == 1


def test_the_rotate_unit_rotates_without_a_daemon_and_fails_for_an_unknown_name(
    home: Home,
) -> None:
    (name,) = home.names()
    home.start([name])
    home.machine.systemctl("stop", "rotator.service")
    before = home.is_served(name)
    home.machine.systemctl("start", f"rotator-rotate@{name}.service")
    assert home.value(name) != before
    done = home.machine.systemctl("start", "rotator-rotate@nobody.service", check=False)
    assert done.returncode != 0
    assert home.machine.property("ExecMainStatus", "rotator-rotate@nobody.service") == "2"


def test_the_one_shot_unit_makes_a_pass_and_the_timer_can_be_enabled(home: Home) -> None:
    (name,) = home.names()
    home.configure([name])
    home.machine.do(
        "cp deploy/systemd/rotator-once.service deploy/systemd/rotator-once.timer "
        "/etc/systemd/system/\nsystemctl daemon-reload"
    )
    home.machine.systemctl("start", "rotator-once.service")
    assert home.value(name) is not None
    home.machine.systemctl("start", "rotator-once.timer")
    assert home.machine.property("ActiveState", "rotator-once.timer") == "active"
    home.machine.systemctl("stop", "rotator-once.timer")


def test_after_a_kill_it_is_restarted_and_what_was_cut_short_is_settled(home: Home) -> None:
    (name,) = home.names()
    home.start([name])
    home.machine.drop_in("[Service]\nRestartSec=100ms\n")
    before, pid = home.is_served(name), home.main_pid()
    fault = Fault(kind=FaultKind.LATENCY, api="openrouter", method="POST", seconds=60, effect=True)
    hit = home.sandbox.faults.add(fault)
    home.machine.systemctl("kill", "--kill-whom=main", "-s", "USR1", "rotator.service")
    eventually(lambda: home.sandbox.faults.hits(hit), "a create is under way")
    home.machine.run("kill", "-9", str(pid))
    home.sandbox.faults.clear()
    eventually(lambda: home.main_pid() not in (0, pid), "it is restarted", 60)
    assert restarts(home) == 1
    assert home.value(name) == before
    eventually(
        lambda: len([key for key in home.issued(name) if not key["deleted"]]) == 1,
        "the key whose plaintext was lost is removed",
        120,
    )
    assert home.is_served(name) == before


def test_a_process_that_stands_still_is_restarted_by_the_watchdog(home: Home) -> None:
    (name,) = home.names()
    home.machine.drop_in(WATCHED)
    home.start([name])
    pid = home.main_pid()
    home.machine.run("kill", "-STOP", str(pid))
    eventually(lambda: home.main_pid() not in (0, pid), "it is restarted", 90)
    assert "Watchdog timeout" in home.machine.journal()
    assert restarts(home) >= 1


def test_a_loop_that_is_wedged_while_the_process_lives_is_restarted_too(home: Home) -> None:
    (name,) = home.names()
    home.machine.write("/opt/wedged.py", WEDGED)
    home.machine.run("chmod", "0644", "/opt/wedged.py")
    home.machine.drop_in(
        WATCHED + "ExecStart=\nExecStart=/opt/rotator/bin/python -I /opt/wedged.py\n"
    )
    home.configure([name])
    home.machine.systemctl("start", "rotator.service")
    home.is_served(name)
    eventually(lambda: "Watchdog timeout" in home.machine.journal(), "it was noticed", 90)
    home.machine.write("/run/not-wedged", "")
    eventually(lambda: home.status_line() == "one target", "another one works", 90)
    home.machine.systemctl("stop", "rotator.service")
    home.machine.run("rm", "/run/not-wedged")


def test_a_stop_lets_the_rotation_in_hand_come_to_its_end(home: Home) -> None:
    (name,) = home.names()
    home.start([name])
    before = home.is_served(name)
    fault = Fault(kind=FaultKind.LATENCY, api="openrouter", method="POST", seconds=60, effect=True)
    hit = home.sandbox.faults.add(fault)
    home.machine.systemctl("kill", "--kill-whom=main", "-s", "USR1", "rotator.service")
    eventually(lambda: home.sandbox.faults.hits(hit), "a create is under way")
    home.machine.systemctl("stop", "--no-block", "rotator.service")
    eventually(lambda: "finishing the steps in hand" in home.machine.journal(), "it was told")
    home.sandbox.faults.clear()
    eventually(lambda: home.machine.property("ActiveState") == "inactive", "it has stopped", 60)
    assert home.machine.property("Result") == "success"
    assert home.value(name) not in (None, before)
    assert len(home.issued(name)) == 2
    assert home.events()[-1]["event"] == "process.stop"


def test_a_wrong_configuration_is_not_tried_again(home: Home) -> None:
    home.machine.write("/etc/rotator/config.toml", "instance = 5\n")
    done = home.machine.systemctl("start", "rotator.service", check=False)
    assert done.returncode != 0
    eventually(lambda: home.machine.property("ActiveState") == "failed", "it has failed")
    assert home.machine.property("ExecMainStatus") == "2"
    assert restarts(home) == 0


def test_secrets_reach_the_service_and_nobody_else(home: Home) -> None:
    (name,) = home.names()
    home.start([name])
    pid = home.main_pid()
    key = home.sandbox.management_key
    for path in (f"/proc/{pid}/environ", f"/proc/{pid}/cmdline"):
        assert key not in home.machine.read(path)
    folder = "/run/credentials/rotator.service"
    stored = home.machine.run("sh", "-c", f"ls {folder}; cat {folder}/rotator.management-key")
    assert key in stored.stdout
    other = home.machine.run(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
        "cat", f"{folder}/rotator.management-key", check=False,
    )  # fmt: skip
    assert other.returncode != 0
    encrypted = home.machine.run("cat", "/etc/credstore.encrypted/rotator.management-key")
    assert key not in encrypted.stdout
    assert key not in home.machine.journal(lines=1000)


def test_a_new_management_key_is_in_use_after_a_restart(home: Home) -> None:
    (name,) = home.names()
    home.start([name])
    before = home.is_served(name)
    old = next(key["hash"] for key in home.sandbox.account.all_keys() if key["management"])
    fresh = home.sandbox.account.add_management_key()
    home.machine.run(
        "systemd-creds", "encrypt", "--name=rotator.management-key", "-",
        "/etc/credstore.encrypted/rotator.management-key", stdin=fresh,
    )  # fmt: skip
    home.machine.systemctl("restart", "rotator.service")
    home.sandbox.account.set_deleted(old)
    home.machine.systemctl("start", f"rotator-rotate@{name}.service")
    assert home.is_served(name, other_than=before)
    home.sandbox.management_key = fresh


def test_the_service_has_no_rights_and_a_user_of_its_own(home: Home) -> None:
    (name,) = home.names()
    home.start([name])
    status = home.machine.read(f"/proc/{home.main_pid()}/status")

    def field(name: str) -> str:
        found = re.search(rf"^{name}:\s*(.*)$", status, re.MULTILINE)
        assert found
        return found.group(1)

    assert int(field("CapEff"), 16) == 0
    assert int(field("CapBnd"), 16) == 0
    assert field("NoNewPrivs") == "1"
    assert field("Seccomp") == "2"
    uid = int(field("Uid").split()[0])
    assert 61184 <= uid <= 65519, "a dynamic user"
    mode = home.machine.run("stat", "-c", "%a %u", "/var/log/rotator/audit.jsonl").stdout
    assert mode.split() == ["600", str(uid)]


def test_logrotate_renames_the_audit_file_and_the_chain_goes_on(home: Home) -> None:
    (name,) = home.names()
    home.start([name], DUE)
    home.machine.run("sh", "-c", "rm -f /var/log/rotator/audit.jsonl-*")
    home.machine.run(
        "logrotate", "--force", "--state", "/run/logrotate-state", "/etc/logrotate.d/rotator"
    )
    eventually(
        lambda: (
            home.machine.run("test", "-s", "/var/log/rotator/audit.jsonl", check=False).returncode
            == 0
        ),
        "the new file has lines",
        60,
    )
    home.machine.systemctl("stop", "rotator.service")
    verified = home.machine.run(
        "sh", "-c",
        "/opt/rotator/bin/rotator audit verify /var/log/rotator/audit.jsonl-* "
        "/var/log/rotator/audit.jsonl",
    )  # fmt: skip
    assert verified.returncode == 0


def test_a_calm_service_starts_again_where_it_was(home: Home) -> None:
    (name,) = home.names()
    home.start([name], CALM)
    served = home.is_served(name)
    for _ in range(3):
        home.machine.systemctl("restart", "rotator.service")
        eventually(lambda: home.status_line() == "one target", "it works", 60)
    assert home.value(name) == served
    assert len(home.issued(name)) == 1
