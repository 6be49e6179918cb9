"""Good configurations: what they become, what they warn of, and that whatever is accepted plans."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.config import (
    AppRoleAuth,
    CertAuth,
    Config,
    HttpConfig,
    JwtAuth,
    KubernetesAuth,
    Listen,
    MaxDead,
    SecretSource,
    TokenAuth,
    load,
    parse,
)
from rotator.core.durations import format_duration
from rotator.core.schedule import longest_gap, rotation_due_at
from rotator.core.target import (
    AfterDeadline,
    Blackout,
    Drain,
    Evidence,
    KeySettings,
    OnDisabled,
    Policy,
    SecretRef,
    Target,
    Window,
)
from rotator.errors import ConfigurationError

MINIMAL = """\
instance = "prod"
[openrouter]
management_key = { env = "KEY" }
[vault]
address = "https://vault.example.com"
auth = { method = "token", token = { env = "TOKEN" } }
state = "rotator/prod"
[[target]]
name = "a"
secret = "secret/a"
"""

FULL = """\
instance = "test-1"

[openrouter]
base_url = "http://localhost:8080/api/v1/"
management_key = { vault = "/secret/rotator-root/#management_key" }
writes_per_minute = 600
timeout = "5s"
proxy = "http://proxy.example.com:3128"
ca_cert = "/ca.pem"

[vault]
address = "http://vault.internal:8200"
insecure = true
namespace = "team-a"
ca_cert = "/vault-ca.pem"
client_cert = "/client.pem"
client_key = "/client-key.pem"
state = "/rotator//prod/"
timeout = "2.5s"

[vault.auth]
method = "approle"
role_id = { file = "/role-id" }
secret_id = { credential = "secret-id" }
mount = "team/approle"

[daemon]
heartbeat = "1s"
resync = "1m"
workers = 64
lease = "5s"
claim_timeout = "20s"
shutdown_grace = "500ms"
adopt_over = "0s"
max_dead = 5

[http]
listen = "[::1]:0"
page = true

[audit]
path = "-"

[log]
level = "debug"
format = "json"

[policy.nightly]
cron = "30  2 * *   mon-fri"
timezone = "Europe/Berlin"
jitter = "30m"
min_age = "0s"
max_age = "10d"
grace = "10s"
drain = { quiet_for = "5s", deadline = "5s", then = "disable", evidence = "usage" }
quarantine = "15s"
on_disabled = "rotate"
windows = ["Mon-Fri 02:00-04:00", "fri-mon,wed 22:00-01:30", "daily 00:00-24:00"]
blackouts = ["2026-12-20/2027-01-05", "2028-02-29"]

[[target]]
name = "billing-api"
secret = "/secret//apps/./billing/"
field = "KEY"
policy = "nightly"
[target.key]
limit = 50
limit_reset = "monthly"
include_byok_in_limit = false
expires_in = "90d"
workspace_id = "7B3B1C9E4C2F4A5E9A530D7D5A1F9F10"
"""


def read(text: str) -> Config:
    return parse(text.encode(), Path("config.toml"))


def test_a_minimal_file_has_every_default() -> None:
    config = read(MINIMAL)
    assert config.targets == (Target("a", SecretRef("secret/a", "OPENROUTER_API_KEY"), Policy()),)
    assert config.http is None
    assert config.warnings == ()
    assert config.openrouter.timeout == timedelta(seconds=60)
    assert config.daemon.max_dead == MaxDead(share=0.1)


def test_every_setting_reaches_its_value() -> None:
    config = read(FULL)
    assert config.instance == "test-1"
    assert config.sha256 == hashlib.sha256(FULL.encode()).hexdigest()
    assert config.source == Path("config.toml")
    assert config.openrouter.base_url == "http://localhost:8080/api/v1"
    assert config.openrouter.management_key.vault == SecretRef(
        "secret/rotator-root", "management_key"
    )
    assert config.openrouter.writes_per_minute == 600
    assert config.openrouter.timeout == timedelta(seconds=5)
    assert config.openrouter.proxy == "http://proxy.example.com:3128"
    assert config.openrouter.ca_cert == Path("/ca.pem")
    vault = config.vault
    assert (vault.address, vault.namespace, vault.state) == (
        "http://vault.internal:8200", "team-a", "rotator/prod",
    )  # fmt: skip
    assert (vault.ca_cert, vault.client_cert, vault.client_key) == (
        Path("/vault-ca.pem"), Path("/client.pem"), Path("/client-key.pem"),
    )  # fmt: skip
    assert vault.timeout == timedelta(seconds=2.5)
    assert vault.auth == AppRoleAuth(
        method="approle",
        role_id=SecretSource(file=Path("/role-id")),
        secret_id=SecretSource(credential="secret-id"),
        mount="team/approle",
    )
    daemon = config.daemon
    assert (daemon.heartbeat, daemon.resync) == (timedelta(seconds=1), timedelta(minutes=1))
    assert (daemon.workers, daemon.lease) == (64, timedelta(seconds=5))
    assert daemon.claim_timeout == timedelta(seconds=20)
    assert daemon.shutdown_grace == timedelta(milliseconds=500)
    assert (daemon.adopt_over, daemon.max_dead) == (timedelta(), MaxDead(count=5))
    assert config.http == HttpConfig(listen=Listen("::1", 0), page=True)
    assert config.audit.path is None
    assert (config.log.level, config.log.format) == ("debug", "json")


def test_a_target_has_its_policy_and_what_its_keys_are_made_with() -> None:
    (target,) = read(FULL).targets
    assert target == Target(
        name="billing-api",
        secret=SecretRef("secret/apps/billing", "KEY"),
        policy=Policy(
            every=None,
            cron="30 2 * * mon-fri",
            timezone=ZoneInfo("Europe/Berlin"),
            jitter=timedelta(minutes=30),
            min_age=timedelta(),
            max_age=timedelta(days=10),
            grace=timedelta(seconds=10),
            drain=Drain(
                timedelta(seconds=5), timedelta(seconds=5), AfterDeadline.DISABLE, Evidence.USAGE
            ),
            quarantine=timedelta(seconds=15),
            on_disabled=OnDisabled.ROTATE,
            windows=(
                Window(frozenset(range(5)), 120, 240),
                Window(frozenset({4, 5, 6, 0, 2}), 1320, 90),
                Window(frozenset(range(7)), 0, 1440),
            ),
            blackouts=(
                Blackout(date(2026, 12, 20), date(2027, 1, 5)),
                Blackout(date(2028, 2, 29), date(2028, 2, 29)),
            ),
        ),
        key=KeySettings(
            50.0, "monthly", False, timedelta(days=90), "7b3b1c9e-4c2f-4a5e-9a53-0d7d5a1f9f10"
        ),
    )


def test_a_role_id_may_stand_in_the_file_for_it_is_a_name() -> None:
    auth = '{ method = "approle", role_id = "7d1c", secret_id = { env = "SECRET_ID" } }'
    config = read(MINIMAL.replace('{ method = "token", token = { env = "TOKEN" } }', auth))
    assert isinstance(config.vault.auth, AppRoleAuth)
    assert config.vault.auth.role_id == "7d1c"
    assert isinstance(read(MINIMAL).vault.auth, TokenAuth)


def test_each_method_of_login_has_what_vault_wants_of_it() -> None:
    def auth(table: str) -> object:
        old = '{ method = "token", token = { env = "TOKEN" } }'
        text = MINIMAL.replace(old, f"{{ {table} }}")
        return read(text.replace("[vault]", '[vault]\nclient_cert = "/client.pem"')).vault.auth

    assert auth('method = "kubernetes", role = "rotator"') == KubernetesAuth(
        method="kubernetes",
        role="rotator",
        jwt=SecretSource(file=Path("/var/run/secrets/kubernetes.io/serviceaccount/token")),
        mount="kubernetes",
    )
    assert auth('method = "kubernetes", role = "r", jwt = { file = "/t" }, mount = "/k8s/eu/"') == (
        KubernetesAuth(
            method="kubernetes", role="r", jwt=SecretSource(file=Path("/t")), mount="k8s/eu"
        )
    )
    assert auth('method = "jwt", role = "r", jwt = { env = "JWT" }') == JwtAuth(
        method="jwt", role="r", jwt=SecretSource(env="JWT"), mount="jwt"
    )
    assert auth('method = "cert"') == CertAuth(method="cert", role=None, mount="cert")
    assert auth('method = "cert", role = "web"') == CertAuth(method="cert", role="web")
    wrapped = auth('method = "approle", role_id = "r", secret_id = { file = "/s" }, wrapped = true')
    assert isinstance(wrapped, AppRoleAuth)
    assert wrapped.wrapped
    assert wrapped.mount == "approle"


def test_the_standard_policy_can_be_changed_and_is_what_a_target_has_by_default() -> None:
    config = read(MINIMAL + '[policy.standard]\nevery = "7d"\n')
    assert config.targets[0].policy.every == timedelta(days=7)


def test_the_seconds_of_a_test_are_legal_everywhere() -> None:
    config = read(
        MINIMAL
        + """
        [policy.standard]
        every = "20s"
        grace = "2s"
        quarantine = "3s"
        drain = { quiet_for = "1s", deadline = "5s" }
        [daemon]
        heartbeat = "200ms"
        """
    )
    assert config.targets[0].policy.every == timedelta(seconds=20)


@pytest.mark.parametrize(
    ("cron", "jitter", "window"),
    [
        ("* * * * *", "0s", "wed 12:00-13:00"),
        ("0 3 29 2 *", "0s", "daily 03:00-03:01"),
        ("0 1 * * sun", "2h", "sun 02:00-04:00"),
    ],
)
def test_cron_and_windows_that_meet_now_and_then_are_accepted(
    cron: str, jitter: str, window: str
) -> None:
    lines = f'cron = "{cron}"\njitter = "{jitter}"\nmin_age = "0s"\nwindows = ["{window}"]\n'
    config = read(f"{MINIMAL}[policy.standard]\n{lines}")
    assert config.targets[0].policy.cron == cron


@pytest.mark.parametrize(
    ("limit", "targets", "believed"),
    [
        (MaxDead(share=0.1), 0, 3),
        (MaxDead(share=0.1), 30, 3),
        (MaxDead(share=0.1), 49, 4),
        (MaxDead(share=0.1), 500, 50),
        (MaxDead(share=1.0), 10, 10),
        (MaxDead(count=5), 1000, 5),
    ],
)
def test_a_share_of_dead_targets_is_never_fewer_than_three(
    limit: MaxDead, targets: int, believed: int
) -> None:
    assert limit.of(targets) == believed


def test_a_file_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path / "config.toml")
    assert caught.value.problems == (
        f"{tmp_path}/config.toml: cannot be read: No such file or directory",
    )


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (
            ('secret = "secret/a"', 'secret = "secret/data/apps/a"'),
            ('config.toml:10: target[0].secret: names a secret that itself begins with "data/"; '
            'if the path of the HTTP API was meant, write "secret/apps/a"'),
        ),
        (
            ('[[target]]\nname = "a"\nsecret = "secret/a"\n', ""),
            "config.toml: target: there is no [[target]], so nothing is ever rotated",
        ),
        (
            (
                "[[target]]",
                ('[policy.p]\ncron = "0 3 * * sun"\njitter = "2h"\nwindows = ["sun 02:00-04:00"]\n'
                '[[target]]'),
            ),
            ("config.toml:10: policy.p.jitter: reaches past the end of the window that cron falls "
            "into: some targets will wait for the next window"),
        ),
    ],
)  # fmt: skip
def test_what_is_legal_but_may_be_a_mistake_is_a_warning(
    change: tuple[str, str], warning: str
) -> None:
    assert read(MINIMAL.replace(*change)).warnings == (warning,)


def test_more_targets_in_one_secret_than_vault_keeps_versions_of_are_a_warning() -> None:
    def text(count: int) -> str:
        more = (
            f'[[target]]\nname = "t{each}"\nsecret = "secret/one"\nfield = "f{each}"\n'
            for each in range(count)
        )
        return MINIMAL + "\n" + "\n".join(more)

    assert read(text(10)).warnings == ()
    (warning,) = read(text(11)).warnings
    assert "11 targets are fields of this one secret" in warning


def test_a_secret_file_that_everyone_may_read_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("")
    text = MINIMAL.replace('{ env = "KEY" }', f'{{ file = "{file}" }}')
    file.chmod(0o640)
    assert read(text).warnings == ()
    file.chmod(0o644)
    (warning,) = read(text).warnings
    assert warning == (
        f"config.toml:3: openrouter.management_key: {file} may be read by everyone: chmod o= {file}"
    )


# --- whatever is accepted plans, whatever is refused says where ---------------------------------

FIELDS = [
    st.sampled_from(["*", "0", "30", "*/7", "5,35", "0-10", "59", "60", "x"]),
    st.sampled_from(["*", "3", "2", "*/5", "22-23", "24", "0"]),
    st.sampled_from(["*", "1", "31", "30", "*/10", "1,15", "l", "32", "29"]),
    st.sampled_from(["*", "2", "feb", "1-6", "*/3", "13", "4,6,9,11"]),
    st.sampled_from(["*", "sun", "0", "7", "mon-fri", "1-5", "mon#1", "5l", "8"]),
]
CRONS = st.tuples(*FIELDS).map(" ".join)
DURATIONS = st.sampled_from(["0s", "10s", "5m", "1h", "6h", "1d", "30d", "45d", "1.5h", "x", "-1s"])
TIMES = st.tuples(st.integers(0, 25), st.sampled_from([0, 30, 59, 60])).map(
    lambda time: f"{time[0]:02}:{time[1]:02}"
)
DAYS = st.sampled_from(["daily", "mon", "mon-fri", "sat,sun", "fri-mon", "mon-wed-fri", "days"])
WINDOWS = st.builds("{} {}-{}".format, DAYS, TIMES, TIMES)
BLACKOUTS = st.sampled_from(
    ["2026-12-20/2027-01-05", "2028-02-29", "2027-02-29", "2027-01-05/2026-12-20", "2026-1-1"]
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Mars"])
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "cron": CRONS,
        "every": DURATIONS,
        "timezone": ZONES,
        "jitter": DURATIONS,
        "min_age": DURATIONS,
        "max_age": DURATIONS,
        "grace": DURATIONS,
        "windows": st.lists(WINDOWS, max_size=2),
        "blackouts": st.lists(BLACKOUTS, max_size=2),
    },
)


@given(POLICIES)
def test_an_accepted_policy_plans_and_a_refused_one_says_where(policy: dict[str, object]) -> None:
    lines = [f"{key} = {value!r}" for key, value in policy.items()]
    text = MINIMAL + "\n".join(["[policy.standard]", *lines, ""])
    try:
        (target,) = read(text).targets
    except ConfigurationError as error:
        for problem in error.problems:
            _, line, where, said = problem.split(":", 3)
            key = where.removeprefix(" policy.standard.").split("[")[0]
            assert key in {*policy, "min_age"}, problem
            # A default that does not fit is told at the table.
            assert int(line) == (12 + [*policy].index(key) if key in policy else 11), problem
            assert said
        return
    now = datetime(2026, 11, 23, tzinfo=UTC)
    due = rotation_due_at(
        target.policy, target.name, now, due_from=now, first_seen=now, adopt_over=timedelta()
    )
    assert now < due.at <= now + longest_gap(target.policy)


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=3650)))
def test_a_duration_that_was_printed_is_read_from_a_file_as_it_was(duration: timedelta) -> None:
    text = MINIMAL + f'[policy.standard]\nquarantine = "{format_duration(duration)}"\n'
    assert read(text).targets[0].policy.quarantine == duration


@given(WINDOWS)
def test_a_window_is_read_or_refused_with_its_place(window: str) -> None:
    text = MINIMAL + f'[policy.standard]\nwindows = ["{window}"]\n'
    try:
        (found,) = read(text).targets[0].policy.windows
    except ConfigurationError as error:
        (problem,) = error.problems
        if problem.startswith("config.toml:12: policy.standard.windows[0]: "):
            return
        raise
    start, end = window.split(" ")[1].split("-")
    assert f"{found.start // 60:02}:{found.start % 60:02}" == start
    assert f"{found.end // 60:02}:{found.end % 60:02}" == end
