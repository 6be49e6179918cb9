"""The running sandbox: ports, control pages, counts, start and stop."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from rotator.sandbox.server import Sandbox


def call(
    url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    payload = None if body is None else json.dumps(body)
    connection.request(method, path, payload, headers or {})
    answer = connection.getresponse()
    value = json.loads(answer.read())
    connection.close()
    return answer.status, value


def test_only_loopback_addresses_are_listened_on() -> None:
    for host in ("0.0.0.0", "192.168.0.1", "::"):  # noqa: S104
        with pytest.raises(ValueError, match="loopback"):
            Sandbox(host=host)


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            Sandbox(vault_port=port)


def test_the_ports_asked_for_are_used_and_free_again_after_the_stop() -> None:
    with Sandbox() as first:
        ports = [urlsplit(url).port or 0 for url in (first.openrouter_url, first.vault_url)]
    with Sandbox(openrouter_port=ports[0], vault_port=ports[1]) as second:
        assert second.openrouter_url == f"http://127.0.0.1:{ports[0]}/api/v1"
        assert call(second.vault_url, "GET", "/v1/sys/health")[0] == 200


def test_a_stopped_sandbox_answers_nothing_and_stops_twice() -> None:
    sandbox = Sandbox().start()
    address = urlsplit(sandbox.openrouter_url)
    kept = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)

    def ask() -> int:
        kept.request("GET", "/api/v1/key")
        answer = kept.getresponse()
        answer.read()
        return answer.status

    assert ask() == 401
    sandbox.stop()
    sandbox.stop()

    with pytest.raises(ConnectionError):
        ask()
    kept.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address.hostname or "", address.port or 0), 10)


def test_the_openrouter_half_runs_alone() -> None:
    with Sandbox(with_vault=False) as half:
        assert call(half.openrouter_url, "GET", "/api/v1/key")[0] == 401
        with pytest.raises(RuntimeError, match="no Vault"):
            _ = half.vault_url


def test_two_sandboxes_run_side_by_side_and_know_nothing_of_each_other() -> None:
    with Sandbox() as one, Sandbox() as two:
        headers = {"Authorization": f"Bearer {one.management_key}"}
        assert call(one.openrouter_url, "GET", "/api/v1/keys", None, headers)[0] == 200
        assert call(two.openrouter_url, "GET", "/api/v1/keys", None, headers)[0] == 401


def test_a_seed_makes_the_same_credentials() -> None:
    with Sandbox(seed=5) as one, Sandbox(seed=5) as two, Sandbox() as free:
        assert one.management_key == two.management_key != free.management_key
        assert one.vault_token == two.vault_token != free.vault_token


def test_faults_are_switched_over_http(sandbox: Sandbox) -> None:
    url = sandbox.openrouter_url
    fault = {"kind": "error", "status": 418, "count": 1, "path": "/api/v1/key"}
    assert call(url, "POST", "/_sandbox/faults", fault) == (201, {"id": 1})
    assert call(url, "POST", "/_sandbox/faults", {"kind": "x"})[0] == 400
    assert call(url, "GET", "/api/v1/key")[0] == 418
    status, listed = call(sandbox.vault_url, "GET", "/_sandbox/faults")
    assert (status, listed[0]["hits"], listed[0]["kind"]) == (200, 1, "error")
    assert call(url, "DELETE", "/_sandbox/faults") == (200, [])
    assert sandbox.faults.listed() == []


def test_calls_are_counted_by_route_whatever_becomes_of_them(sandbox: Sandbox) -> None:
    url, key = sandbox.openrouter_url, {"Authorization": f"Bearer {sandbox.management_key}"}
    made = call(url, "POST", "/api/v1/keys", {"name": "x"}, key)[1]
    call(url, "GET", f"/api/v1/keys/{made['data']['hash']}", None, key)
    call(url, "GET", "/api/v1/keys/none")
    call(url, "GET", "/api/v1/keys?offset=0", None, key)
    vault = {"X-Vault-Token": sandbox.vault_token}
    call(sandbox.vault_url, "POST", "/v1/secret/data/a/b", {"data": {}}, vault)
    call(sandbox.vault_url, "GET", "/v1/secret/metadata/a/b", None, vault)
    call(sandbox.vault_url, "GET", "/v1/sys/internal/ui/mounts/secret/a/b", None, vault)

    assert call(url, "GET", "/_sandbox/stats")[1] == {
        "GET /keys": 1,
        "GET /keys/{hash}": 2,
        "POST /keys": 1,
    }
    assert call(sandbox.vault_url, "GET", "/_sandbox/stats")[1] == {
        "GET metadata/{path}": 1,
        "GET sys/internal/ui/mounts/{path}": 1,
        "POST data/{path}": 1,
    }
    assert sandbox.calls.count("openrouter") == 4
    assert sandbox.calls.count("openrouter", "GET", "/keys/{hash}") == 2
    assert sandbox.calls.last()[0].path == "/api/v1/keys"
    assert call(url, "DELETE", "/_sandbox/stats") == (200, {})
    assert sandbox.calls.count("vault") == 0


def test_tests_see_every_key_even_deleted_ones_but_no_plaintext(sandbox: Sandbox) -> None:
    url, key = sandbox.openrouter_url, {"Authorization": f"Bearer {sandbox.management_key}"}
    made = call(url, "POST", "/api/v1/keys", {"name": "x"}, key)[1]
    call(url, "DELETE", f"/api/v1/keys/{made['data']['hash']}", None, key)
    rows = call(url, "GET", "/_sandbox/keys")[1]

    found = [(row["name"], row["deleted"]) for row in rows if not row["management"]]
    assert found == [("x", True)]
    assert made["key"] not in json.dumps(rows)
    assert call(url, "GET", "/_sandbox/none")[0] == 404


def test_what_the_api_does_not_have_is_refused_in_its_own_shape(sandbox: Sandbox) -> None:
    for method, path, status in (
        ("GET", "/api/v1/models", 404),
        ("PUT", "/api/v1/keys", 405),
        ("GET", "/elsewhere", 404),
    ):
        got, body = call(sandbox.openrouter_url, method, path)
        assert (got, body["error"]["code"]) == (status, status)


def test_a_body_that_is_no_json_object_is_a_400(sandbox: Sandbox) -> None:
    key = {"Authorization": f"Bearer {sandbox.management_key}"}
    bodies: list[Any] = [[], "x", 1]
    for body in bodies:
        assert call(sandbox.openrouter_url, "POST", "/api/v1/keys", body, key)[0] == 400
