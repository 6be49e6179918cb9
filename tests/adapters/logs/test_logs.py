"""The ordinary logs: their form, what they mask, and that they never disturb the program."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import pty
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NoReturn

import httpx
import hvac
import pytest
import structlog
from apscheduler.events import EVENT_JOB_REMOVED
from apscheduler.schedulers.background import BackgroundScheduler
from hypothesis import given
from hypothesis import strategies as st

from rotator.adapters.logs import QUIET, configure_logging, log_context
from rotator.pipes import PIECE
from rotator.secret import Secret

CANARY = "sk-or-v1-" + "c0ffee" * 10 + "beef"
VAULT_CANARY = "hvs.CANARY-0123456789abcdefghij"
CANARIES = (CANARY, VAULT_CANARY)

log = logging.getLogger("rotator.test")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Put the process's logging back after each test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in QUIET}
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    structlog.contextvars.clear_contextvars()


def stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")


def text(of: io.TextIOWrapper) -> str:
    buffer = of.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def events(of: io.TextIOWrapper) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text(of).splitlines()]


def fail(error: Exception) -> NoReturn:
    raise error


# --- form ----------------------------------------------------------------------------------------


def test_a_line_is_a_json_object_with_the_fields_of_the_call() -> None:
    out = stream()
    configure_logging("info", "auto", out)
    log.info("published %s", "v4", extra={"target": "billing-api", "version": 4})
    log.debug("not of interest")
    (event,) = events(out)
    assert list(event) == ["timestamp", "level", "logger", "event", "target", "version"]
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "level": "info",
        "logger": "rotator.test",
        "event": "published v4",
        "target": "billing-api",
        "version": 4,
    }


def test_a_context_marks_every_line_of_its_job_and_does_not_leak_into_the_next() -> None:
    out = stream()
    configure_logging("info", "json", out)

    def job(target: str) -> None:
        with log_context(target=target):
            log.info("first")
            logging.getLogger("some.library").info("second")
        log.info("after")

    with ThreadPoolExecutor(1) as pool:
        list(pool.map(job, ["a", "b"]))
    seen = [(event["event"], event.get("target")) for event in events(out)]
    half = [("first", "a"), ("second", "a"), ("after", None)]
    assert seen == half + [(name, "b" if target else None) for name, target in half]


def test_a_field_cannot_take_the_place_of_the_lines_own() -> None:
    out = stream()
    configure_logging("info", "json", out)
    log.warning("true", extra={"event": "false", "level": "info", "logger": "x", "timestamp": 0})
    (event,) = events(out)
    assert (event["event"], event["level"], event["logger"]) == ("true", "warning", "rotator.test")


def test_a_second_call_replaces_the_first() -> None:
    first, second = stream(), stream()
    configure_logging("info", "json", first)
    configure_logging("error", "json", second)
    log.warning("lost")
    log.error("kept")
    assert text(first) == ""
    assert [event["event"] for event in events(second)] == ["kept"]


@pytest.mark.parametrize("name", QUIET)
def test_libraries_are_heard_from_warning_on(name: str) -> None:
    out = stream()
    configure_logging("debug", "json", out)
    logging.getLogger(f"{name}.part").info("chatter")
    logging.getLogger(f"{name}.part").warning("trouble")
    assert [event["event"] for event in events(out)] == ["trouble"]


def on_terminal(environment: dict[str, str]) -> str:
    """What a process with a terminal as its standard error writes to it."""
    parent, child = pty.openpty()
    code = (
        "import logging; from rotator.adapters.logs import configure_logging\n"
        "configure_logging('info'); logging.getLogger('a').info('hello', extra={'n': 1})"
    )
    kept = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "TERM", "FORCE_COLOR"}}
    subprocess.run([sys.executable, "-c", code], stderr=child, check=True, env=kept | environment)
    os.close(child)
    shown = os.read(parent, 10_000).decode()
    os.close(parent)
    return shown


def test_a_terminal_gets_colours_unless_no_color_is_set() -> None:
    colourful = on_terminal({"TERM": "xterm"})
    assert "hello" in colourful
    assert "\x1b[" in colourful
    for environment in ({"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = on_terminal(environment)
        assert "hello" in plain
        assert "n=1" in plain
        assert "\x1b" not in plain


def test_text_from_outside_cannot_forge_a_line_or_move_the_cursor() -> None:
    out = stream()
    configure_logging("info", "console", out)
    hostile = "x\n2026-01-01 [info] forged\x1b[2J\x9b\r\u202e\u2028\ud800"
    try:
        fail(ValueError(hostile))
    except ValueError:
        log.exception("%s", hostile, extra={"detail": hostile, "a\nb": 1, "deep": [{"k": hostile}]})
    shown = text(out)
    assert not set("\x1b\x9b\r\u202e\u2028") & set(shown)
    first, *rest = shown.splitlines()
    assert "forged" in first
    assert rest
    assert all(line.startswith("  | ") for line in rest)


# --- masking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "X-Vault-Token", "token", "secret", "key", "management_key", "apiKey"),
        *("password", "client_token", "secret_id", "new_key"),
    ],
)
def test_a_field_with_a_telling_name_is_masked(form: Any, name: str) -> None:
    out = stream()
    configure_logging("info", form, out)
    log.info(
        "x", extra={name: "hunter2", "nested": [{name: "hunter2"}], "bytes": {name: b"hunter2"}}
    )
    assert "hunter2" not in text(out)
    assert text(out).count("***") == 3


def test_hashes_and_names_of_keys_stay_readable() -> None:
    out = stream()
    configure_logging("info", "json", out)
    fields = {"key_hash": "a0" * 32, "hash": "1f" * 32, "key_name": "rotator prod", "keys_seen": 3}
    log.info("x", extra=fields)
    (event,) = events(out)
    assert {name: event[name] for name in fields} == fields


class Careless:
    """Prints its token, as many a client object does."""

    def __repr__(self) -> str:
        return f"<Client {VAULT_CANARY}>"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_canary_is_masked_in_every_place_of_a_line(form: Any) -> None:
    out = stream()
    configure_logging("debug", form, out)
    local = CANARY  # a traceback with locals would show it
    try:
        try:
            fail(OSError(f"cause {local}"))
        except OSError as error:
            raise RuntimeError(f"Bearer {VAULT_CANARY}") from error
    except RuntimeError:
        log.exception("failed with %s", CANARY, extra={"detail": [CANARY, {"a": Careless()}]})
    log.warning(CANARY, stack_info=True, extra={CANARY: 1, "b": VAULT_CANARY.encode()})
    with log_context(who=VAULT_CANARY):
        log.error("%r", Careless())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"careless {CANARY}", UserWarning, stacklevel=1)
    shown = text(out)
    assert shown.count("***") >= 8
    assert "RuntimeError" in shown
    assert "OSError" in shown
    assert "careless" in shown
    assert not [canary for canary in CANARIES if canary[10:] in shown]


def test_a_secret_prints_as_a_mask() -> None:
    out = stream()
    configure_logging("info", "json", out)
    log.info("made %s", Secret("hunter2"), extra={"made": Secret("hunter2")})
    assert "hunter2" not in text(out)


class _Echo(BaseHTTPRequestHandler):
    """Answers everything with 403 and the credentials that it was given."""

    def do_GET(self) -> None:
        given = f"{self.headers['Authorization']} {self.headers['X-Vault-Token']}"
        body = json.dumps({"errors": [given]}).encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", f"session={CANARY}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def echo() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_libraries_at_debug_level_show_no_canary(echo: str) -> None:
    out = stream()
    configure_logging("debug", "json", out)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG)
    with httpx.Client(headers={"Authorization": f"Bearer {CANARY}"}) as client:
        answer = client.get(echo, params={"token": VAULT_CANARY})
    assert CANARY in answer.text
    vault = hvac.Client(url=echo, token=VAULT_CANARY)
    with pytest.raises(hvac.exceptions.Forbidden) as caught:
        vault.secrets.kv.v2.read_secret_version("apps", raise_on_deleted_version=True)
    log.error("vault refused", exc_info=caught.value)
    vault.adapter.close()

    def job(_: str) -> None:
        raise RuntimeError(f"{CANARY} {VAULT_CANARY}")

    removed = threading.Event()  # a shutdown before that would fail in the scheduler's thread
    scheduler = BackgroundScheduler()
    scheduler.add_listener(lambda _: removed.set(), EVENT_JOB_REMOVED)
    scheduler.start()
    scheduler.add_job(job, args=[CANARY], name=CANARY)
    assert removed.wait(30)
    scheduler.shutdown()

    shown = text(out)
    heard = {event["logger"].partition(".")[0] for event in events(out)}
    assert {"httpx", "httpcore", "urllib3", "apscheduler", "rotator"} <= heard
    assert not [canary for canary in CANARIES if canary[10:] in shown]


# --- it never disturbs ---------------------------------------------------------------------------


class Hostile:
    """Cannot be printed."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_what_cannot_be_rendered_is_logged_as_well_as_it_can(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for form in ("json", "console"):
        out = stream()
        configure_logging("info", form, out)
        endless: list[Any] = []
        endless.append(endless)
        log.info(
            "odd",
            extra={"a": Hostile(), "b": {(1, 2): {3}}, "c": "\ud800", "d": 10**5000, "e": endless}
            | {"f": float("nan"), "g": "x" * 100_000, "h": b"\xff"},
        )
        log.info("%d", "no number")
        log.info("%s", Hostile())
        shown = text(out)
        assert "odd" in shown
        assert len(shown.splitlines()) == 3
        assert shown.count("could not be rendered") == 2
    assert capsys.readouterr() == ("", "")


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@given(message=st.text(), value=json_values)
def test_any_value_makes_exactly_one_line_of_valid_json(message: str, value: Any) -> None:
    out = stream()
    configure_logging("info", "json", out)
    log.info(message, extra={"value": value})
    log.info("%s", message)
    assert len(text(out).splitlines()) == 2
    assert all("could not" not in event["event"] for event in events(out)) or "could not" in message


def test_a_closed_stream_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    out = stream()
    configure_logging("info", "json", out)
    out.close()
    log.info("nobody hears this")
    configure_logging("info", "auto", out)
    log.info("nor this")
    assert capsys.readouterr() == ("", "")


def test_a_broken_pipe_changes_neither_the_course_nor_the_exit_code() -> None:
    code = (
        "import logging, sys; from rotator.adapters.logs import configure_logging\n"
        "configure_logging('info')\n"
        "log = logging.getLogger('a'); log.info('first')\n"
        "sys.stdin.readline()\n"
        "for _ in range(1000): log.info('x' * 1000)\n"
        "print('done')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout and process.stderr  # noqa: PT018
        assert json.loads(process.stderr.readline())["event"] == "first"
        process.stderr.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stdout.read() == "done\n"
        assert process.wait() == 0


@contextmanager
def unread(room: int = 65_536) -> Iterator[tuple[int, io.TextIOWrapper]]:
    """A pipe: the end that nobody reads yet, and the other as a stream for logs."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, room)
    with os.fdopen(writer, "w") as out:
        try:
            yield reader, out
        finally:
            os.close(reader)


def test_a_reader_who_stops_reading_holds_nobody_up_and_is_told_what_he_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rotator.adapters.logs._PATIENCE", 0.05)
    with unread() as (reader, out):
        configure_logging("info", "json", out)
        for number in range(200):
            log.info("x" * 1000, extra={"number": number})
        read = os.read(reader, 1 << 20)
        log.info("he reads again")
        read += os.read(reader, 1 << 20)
    lines = [json.loads(line) for line in read.decode().splitlines()]
    numbers = [line["number"] for line in lines if "number" in line]
    assert numbers == list(range(len(numbers)))
    missed = f"log lines lost, because nobody read them: {200 - len(numbers)}"
    assert [line["event"] for line in lines[-2:]] == [missed, "he reads again"]


def test_a_long_line_that_is_cut_short_by_its_reader_does_not_take_the_next_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rotator.adapters.logs._PATIENCE", 0.05)
    with unread(room=PIECE) as (reader, out):
        configure_logging("info", "json", out)
        log.info("x" * 2 * PIECE)
        read = os.read(reader, PIECE)
        log.info("he reads again")
        read += os.read(reader, PIECE)
    cut, missed, last = read.decode().splitlines()
    assert len(cut) == PIECE
    assert json.loads(missed)["event"] == "log lines lost, because nobody read them: 1"
    assert json.loads(last)["event"] == "he reads again"


def test_a_stream_without_bytes_underneath_works_too() -> None:
    out = io.StringIO()
    configure_logging("info", "json", out)
    log.info("hello")
    assert json.loads(out.getvalue())["event"] == "hello"
