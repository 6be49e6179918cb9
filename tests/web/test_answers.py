"""Which request gets which answer: probes, the metrics, and who may see the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.web import Answer, Answers, Request, Vitals
from tests.fakes.clock import FakeClock
from tests.web.samples import Sample, fleet, heard


def answers(
    sample: Sample, clock: FakeClock, *, host: str = "127.0.0.1", page: bool = True
) -> Answers:
    return Answers(sample, heard(clock), clock, listen_host=host, page=page)


def get(whole: Answers, path: str, host: str = "localhost") -> Answer:
    return whole(Request("GET", path, "", host))


def test_health_follows_the_life_of_the_loop_and_nothing_else(clock: FakeClock) -> None:
    sample = fleet(3, bad=3)
    sample.whole = replace(sample.whole, key_refused="401", resync_error="503")
    sample.life = Vitals(None, ready=False)
    whole = answers(sample, clock)
    assert get(whole, "/healthz").status == 200
    sample.life = Vitals("no heartbeat for 61 s", ready=True)
    wrong = get(whole, "/healthz")
    assert (wrong.status, wrong.body) == (503, b"no heartbeat for 61 s\n")


def test_readiness_follows_whether_vault_let_us_in(clock: FakeClock) -> None:
    sample = fleet(1)
    sample.life = Vitals("no heartbeat for 61 s", ready=False)
    whole = answers(sample, clock)
    assert get(whole, "/readyz").status == 503
    sample.life = Vitals("no heartbeat for 61 s", ready=True)
    assert get(whole, "/readyz").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_scrapers_may_come_under_any_name(path: str, clock: FakeClock) -> None:
    for page in (True, False):
        whole = answers(fleet(1), clock, page=page)
        for host in ("10.1.2.3:9464", "rotator.prod.svc", "evil.example", ""):
            assert get(whole, path, host).status == 200


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "[::1]:9464", "10.1.2.3", "box.internal:9464"],
)  # fmt: skip
def test_the_page_is_served_under_an_address_or_the_configured_name(
    host: str, clock: FakeClock
) -> None:
    assert get(answers(fleet(1), clock, host="box.internal"), "/", host).status == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example",
     "127.0.0.1@evil.example", "localhost:80:80", "evil.example:"],
)  # fmt: skip
def test_the_page_is_not_served_under_a_name_that_a_stranger_can_choose(
    host: str, clock: FakeClock
) -> None:
    whole = answers(fleet(1), clock)
    refused = get(whole, "/", host)
    assert refused.status == 421
    assert b"billing" not in refused.body


def test_without_the_page_nothing_of_it_is_served(clock: FakeClock) -> None:
    whole = answers(fleet(1), clock, page=False)
    for path in ("/", "/icon-fine.svg", "/index.html"):
        assert get(whole, path).status == 404
    assert b"page = true" in get(whole, "/").body


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "//", "/style-0.css", "/../etc/passwd"])
def test_another_path_is_not_found(path: str, clock: FakeClock) -> None:
    assert get(answers(fleet(1), clock), path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_sent(method: str, clock: FakeClock) -> None:
    refused = answers(fleet(1), clock)(Request(method, "/", "", "localhost"))
    assert refused.status == 405
    assert refused.headers == {"Allow": "GET, HEAD"}


def test_the_page_forbids_all_that_it_does_not_need(clock: FakeClock) -> None:
    headers = get(answers(fleet(1), clock), "/").all_headers()
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self';")
    assert "unsafe" not in policy
    assert "script" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Type"] == "text/html; charset=utf-8"


class Broken(Sample):
    """A source that fails."""

    def process(self) -> None:  # type: ignore[override]
        raise RuntimeError("sk-or-v1-0123456789abcdef")


def test_a_defect_in_one_answer_is_told_without_its_cause_and_the_next_is_answered(
    clock: FakeClock,
) -> None:
    whole = answers(Broken(), clock)
    failed = get(whole, "/metrics")
    assert (failed.status, failed.body) == (500, b"internal error\n")
    assert get(whole, "/healthz").status == 200
