"""Broken configurations: each is refused with its place and a remedy, and no secret is shown."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import pytest

from rotator.config import Config, parse
from rotator.errors import ConfigurationError

FILE = Path("config.toml")

# Credentials made up for these tests; none may ever be shown.
KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
TOKEN = "hvs.CAESIJ0123456789abcdef"
PASSWORD = "correct-horse-battery"

GOOD = """\
instance = "prod"

[openrouter]
management_key = { file = "/nowhere/management-key" }

[vault]
address = "https://vault.example.com:8200"
auth = { method = "token", token = { env = "VAULT_TOKEN" } }
state = "rotator/prod"

[daemon]

[policy.fast]
every = "7d"

[[target]]
name = "billing-api"
secret = "secret/apps/billing"
policy = "fast"

[[target]]
name = "search"
secret = "secret/apps/search"
field = "KEY"
"""


def load(text: str) -> Config:
    return parse(text.encode(), FILE)


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    shown = "".join(traceback.format_exception(caught.value))
    for secret in (KEY, TOKEN, PASSWORD):
        assert secret not in shown
        assert secret not in repr(caught.value)
    assert caught.value.__cause__ is None
    return caught.value.problems


def test_the_file_that_the_broken_ones_are_made_from_is_good() -> None:
    assert [target.name for target in load(GOOD).targets] == ["billing-api", "search"]


def change(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, f"{old!r} stands {GOOD.count(old)} times in the good file"
    return GOOD.replace(old, new)


def with_policy(lines: str) -> str:
    return change('every = "7d"', lines)


def with_key(setting: str) -> str:
    return change('policy = "fast"', f'policy = "fast"\nkey = {{ {setting} }}')


def with_daemon(setting: str) -> str:
    return change("[daemon]", f"[daemon]\n{setting}")


def login(auth: str, old: str = "", new: str = "") -> str:
    """The good file with another login, and one more change."""
    text = change('method = "token", token = { env = "VAULT_TOKEN" }', auth)
    return text.replace(old, new) if old else text


# name: (file, line of the problem, where, what is said of it)
BROKEN: dict[str, tuple[str, int, str, str]] = {
    # keys and tables
    "no instance": (change('instance = "prod"\n', ""), 0, "instance", 'instance = "prod"'),
    "an instance with capitals": (change('"prod"', '"Prod"'), 1, "instance", "lower-case"),
    "an instance that is a number": (change('"prod"', "5"), 1, "instance", "text in quotes"),
    "an instance with a newline at its end": (
        change('"prod"', r'"prod\n"'), 1, "instance", "lower-case letters",
    ),
    "an unknown table": (GOOD + "[deamon]\n", 25, "deamon", 'did you mean "daemon"'),
    "an unknown key": (
        change('every = "7d"', 'evry = "7d"'), 14, "policy.fast.evry", 'did you mean "every"',
    ),
    "an unknown key like no other": (
        change("[daemon]", "[daemon]\nzzz = 1"), 12, "daemon.zzz", "known here: adopt_over",
    ),
    "no vault at all": (
        re.sub(r"\[vault\].*?\n\n", "", GOOD, flags=re.DOTALL), 0, "vault", "[vault] is required",
    ),
    "a table that is a number": (change("[daemon]\n", "").replace("\n\n", "\ndaemon = 1\n\n", 1), 2,
        "daemon", "must be a table"),
    "a target with one bracket": (
        GOOD.split("[[target]]", maxsplit=1)[0] + "[target]\nname = 'a'\n", 16, "target", "[[target]]",
    ),
    "a policy without a name": (
        change("[policy.fast]", "[policy]").replace('policy = "fast"\n', ""), 14, "policy.every", "[policy.standard]",
    ),
    "a policy with an impossible name": (
        change("[policy.fast]", '[policy."Fast One"]').replace('"fast"', '"standard"'),
        13, 'policy."Fast One"', "lower-case",
    ),
    # secrets
    "the management key itself": (
        change('{ file = "/nowhere/management-key" }', f'"{KEY}"'),
        4, "openrouter.management_key", "{ file =",
    ),
    "a password as the management key": (
        change('{ file = "/nowhere/management-key" }', f'"{PASSWORD}"'),
        4, "openrouter.management_key", "does not belong in this file",
    ),
    "the token itself": (
        change('{ env = "VAULT_TOKEN" }', f'"{TOKEN}"'), 8, "vault.auth.token", "{ env =",
    ),
    "a token as the name of a variable": (
        change('"VAULT_TOKEN"', f'"{TOKEN}"'), 8, "vault.auth.token.env", "not its value",
    ),
    "a key where a path belongs": (
        change('"secret/apps/search"', f'"{KEY}"'), 23, "target[1].secret", "secret/apps/billing",
    ),
    "a key where a field's name belongs": (
        change('"KEY"', f'"{KEY}"'), 24, "target[1].field", "looks like a secret",
    ),
    "a key as an unknown key": (
        change('field = "KEY"', f'{KEY} = "KEY"'), 24, "target[1].sk-or-***", "unknown key",
    ),
    "a reference to two places": (
        change('"/nowhere/management-key" }', '"/nowhere/k", env = "K" }'),
        4, "openrouter.management_key", "exactly one",
    ),
    "a reference to no place": (
        change('file = "/nowhere/management-key"', ""), 4, "openrouter.management_key",
        "exactly one",
    ),
    "a reference to a relative file": (
        change("/nowhere/management-key", "management-key"), 4,
        "openrouter.management_key.file", "absolute path",
    ),
    "a credential with a path": (
        change('file = "/nowhere/management-key"', 'credential = "../key"'), 4,
        "openrouter.management_key.credential", "not a path",
    ),
    "a reference to Vault without a field": (
        change('file = "/nowhere/management-key"', 'vault = "secret/root"'), 4,
        "openrouter.management_key.vault", "path and a field",
    ),
    "Vault's own token in Vault": (
        change('{ env = "VAULT_TOKEN" }', '{ vault = "secret/a#b" }'), 8, "vault.auth.token",
        "use file, env or credential",
    ),
    # the two services
    "a password in an address": (
        change("https://vault", f"https://me:{PASSWORD}@vault"), 7, "vault.address", "no password",
    ),
    "an address without a scheme": (
        change("https://vault", "vault"), 7, "vault.address", "https://HOST",
    ),
    "http to another machine": (
        change("https://vault", "http://vault"), 7, "vault.address", "insecure = true",
    ),
    "http to another machine for OpenRouter": (
        change("[openrouter]", '[openrouter]\nbase_url = "http://10.0.0.1/api"'), 4,
        "openrouter.base_url", "use https://",
    ),
    "a login that does not exist": (
        change('method = "token"', 'method = "magic"'), 8, "vault.auth", 'use one of "token", "appr',
    ),
    "a login at Kubernetes without a role": (
        login('method = "kubernetes"'), 8, "vault.auth.role", 'as in role = "rotator"',
    ),
    "a login by JWT without the token": (
        login('method = "jwt", role = "r"'), 8, "vault.auth.jwt", "as in jwt = { file",
    ),
    "a login by JWT whose token is written in the file": (
        login(f'method = "jwt", role = "r", jwt = "{PASSWORD}"'), 8, "vault.auth.jwt",
        "must refer to the secret",
    ),
    "a login by JWT whose token is kept in the Vault that it opens": (
        login('method = "jwt", role = "r", jwt = { vault = "secret/a#b" }'), 8, "vault.auth.jwt",
        "cannot come from Vault",
    ),
    "a login by certificate without one": (
        login('method = "cert"'), 6, "vault.client_cert", "required by auth",
    ),
    "a login by certificate without TLS": (
        login('method = "cert"', '"https://vault.example.com:8200"',
              '"http://localhost:8200"\nclient_cert = "/a.pem"'),
        7, "vault.address", "must be https://",
    ),
    "a mount that leads elsewhere": (
        login('method = "kubernetes", role = "r", mount = "k/../../sys"'), 8, "vault.auth.mount",
        'as in "approle"',
    ),
    "a mount with auth/ before it": (
        login('method = "kubernetes", role = "r", mount = "auth/k8s/"'), 8, "vault.auth.mount",
        'write "k8s"',
    ),
    "a mount with a mark of a URL": (
        login('method = "approle", role_id = "r", secret_id = { env = "S" }, mount = "a?b"'), 8,
        "vault.auth.mount", "none of #",
    ),
    "a mount of nothing": (
        login('method = "cert", mount = "/"'), 8, "vault.auth.mount", "the mount's path",
    ),
    "a wrapped secret id that is no yes or no": (
        login('method = "approle", role_id = "r", secret_id = { env = "S" }, wrapped = "yes"'), 8,
        "vault.auth.wrapped", "true or false",
    ),
    "a login without a method": (
        change('method = "token", ', ""), 8, "vault.auth", "required with a method",
    ),
    "a role without its secret id": (
        change('method = "token", token = { env = "VAULT_TOKEN" }', 'method = "approle", role_id = "r"'),
        8, "vault.auth.secret_id", "secret_id = { file",
    ),
    "a role id that refers to nothing": (
        change('method = "token", token = { env = "VAULT_TOKEN" }',
               'method = "approle", role_id = { fil = "/a" }, secret_id = { env = "S" }'),
        8, "vault.auth.role_id.fil", 'did you mean "file"',
    ),
    "a client's key without its certificate": (
        change("[vault]", '[vault]\nclient_key = "/a/key.pem"'), 7, "vault.client_key",
        "set client_cert",
    ),
    "a state without a prefix": (
        change('"rotator/prod"', '"rotator"'), 9, "vault.state", "mount and a path",
    ),
    # the loop
    "a duration without a unit": (
        with_daemon('heartbeat = "15"'), 12, "daemon.heartbeat", "1h30m",
    ),
    "a duration that is a number": (
        with_daemon("heartbeat = 15"), 12, "daemon.heartbeat", "text in quotes",
    ),
    "a heartbeat of next to nothing": (
        with_daemon('heartbeat = "99ms"'), 12, "daemon.heartbeat", "at least 100ms",
    ),
    "a heartbeat that its alert would take for a dead loop": (
        with_daemon('heartbeat = "61s"'), 12, "daemon.heartbeat", "at most 1m",
    ),
    "a heartbeat of zero": (with_daemon('heartbeat = "0s"'), 12, "daemon.heartbeat", "longer than"),
    "no workers": (with_daemon("workers = 0"), 12, "daemon.workers", "at least 1"),
    "too many workers": (with_daemon("workers = 65"), 12, "daemon.workers", "at most 64"),
    "workers as text": (with_daemon('workers = "8"'), 12, "daemon.workers", "whole number"),
    "a claim that is shorter than its calls": (
        with_daemon('claim_timeout = "3m"'), 12, "daemon.claim_timeout", "at least 4m",
    ),
    "calls that are longer than a claim": (
        change("[vault]", '[vault]\ntimeout = "2m"'), 12, "daemon.claim_timeout", "at least 8m",
    ),
    "a share of nothing": (with_daemon('max_dead = "0%"'), 12, "daemon.max_dead", '"10%"'),
    "too few dead targets": (with_daemon("max_dead = 2"), 12, "daemon.max_dead", "at least 3"),
    "no writes": (
        change("[openrouter]", "[openrouter]\nwrites_per_minute = 0"), 4,
        "openrouter.writes_per_minute", "at least 1",
    ),
    "an unknown level of logging": (
        with_daemon('[log]\nlevel = "trace"'), 13, "log.level", '"debug"',
    ),
    "a relative audit file": (
        with_daemon('[audit]\npath = "audit.jsonl"'), 13, "audit.path", "absolute path",
    ),
    "an address to listen on without a port": (
        with_daemon('[http]\nlisten = "localhost"'), 13, "http.listen", "127.0.0.1:9464",
    ),
    "a port that does not exist": (
        with_daemon('[http]\nlisten = "127.0.0.1:70000"'), 13, "http.listen", "65535",
    ),
    # policies
    "cron and every": (
        with_policy('every = "7d"\ncron = "0 3 1 * *"'), 15, "policy.fast.cron", "keep one",
    ),
    "a cron time that never comes": (
        with_policy('cron = "0 3 30 2 *"'), 14, "policy.fast.cron", "Bad day-of-month",
    ),
    "a cron expression of six fields": (
        with_policy('cron = "0 0 3 1 * *"'), 14, "policy.fast.cron", "five fields",
    ),
    "cron and windows that never meet": (
        with_policy('cron = "0 3 * * sun"\nwindows = ["mon-fri 09:00-17:00"]'), 15,
        "policy.fast.windows", "move cron into a window",
    ),
    "an unknown time zone": (
        with_policy('timezone = "Europe/Berln"'), 14, "policy.fast.timezone", '"Europe/Berlin"',
    ),
    "a time zone that is a path": (
        with_policy('timezone = "../etc/passwd"'), 14, "policy.fast.timezone", "Europe/Berlin",
    ),
    "a window in no language": (
        with_policy('windows = ["daily 09:00-17:00", "weekdays 9-5"]'), 14,
        "policy.fast.windows[1]", "mon-fri 09:00-17:00",
    ),
    "a window at 25 o'clock": (
        with_policy('windows = ["daily 23:00-25:00"]'), 14, "policy.fast.windows[0]", "24:00",
    ),
    "a window of no length": (
        with_policy('windows = ["daily 09:00-09:00"]'), 14, "policy.fast.windows[0]", "00:00-24:00",
    ),
    "a window that is not in a list": (
        with_policy('windows = "daily 09:00-17:00"'), 14, "policy.fast.windows", "square brackets",
    ),
    "a blackout that ends before it begins": (
        with_policy('blackouts = ["2027-01-05/2026-12-20"]'), 14, "policy.fast.blackouts[0]",
        "earlier day first",
    ),
    "a blackout on a day that does not exist": (
        with_policy('blackouts = ["2027-02-29"]'), 14, "policy.fast.blackouts[0]", "no such day",
    ),
    "a blackout without an end": (
        with_policy('blackouts = ["2026-12-20/2036-01-05"]'), 14, "policy.fast.blackouts",
        "make them shorter",
    ),
    "a jitter as long as every": (
        with_policy('every = "7d"\njitter = "7d"'), 15, "policy.fast.jitter", "shorter than every (7d)",
    ),
    "a jitter that is longer than cron's period": (
        with_policy('cron = "0 3 * * *"\njitter = "1d"'), 15, "policy.fast.jitter", "cron's period",
    ),
    "a least age by which cron times are skipped": (
        with_policy('cron = "0 3 * * *"\nmin_age = "1d"'), 15, "policy.fast.min_age",
        "shorter min_age",
    ),
    "a least age longer than every": (
        with_policy('every = "7d"\nmin_age = "8d"'), 15, "policy.fast.min_age", "every (7d)",
    ),
    "a greatest age shorter than every": (
        with_policy('every = "7d"\nmax_age = "6d"'), 15, "policy.fast.max_age", "every (7d)",
    ),
    "a cron expression without end": (
        with_policy('cron = "' + "1," * 100_000 + '1 * * * *"'), 14, "policy.fast.cron",
        "at most 1000 characters",
    ),
    "thousands of blackouts": (
        with_policy("blackouts = [" + '"2026-12-24",' * 5000 + "]"), 14, "policy.fast.blackouts",
        "at most 366 entries",
    ),
    "a grace of zero": (with_policy('grace = "0s"'), 14, "policy.fast.grace", "longer than zero"),
    "a negative quarantine": (
        with_policy('quarantine = "-3d"'), 14, "policy.fast.quarantine", "1h30m",
    ),
    "a quiet time of zero": (
        with_policy('drain = { quiet_for = "0s" }'), 14, "policy.fast.drain.quiet_for",
        "longer than zero",
    ),
    "a deadline shorter than the quiet time": (
        with_policy('drain = { quiet_for = "2h", deadline = "1h" }'), 14,
        "policy.fast.drain.deadline", "make deadline the longer",
    ),
    "an unknown fate after the deadline": (
        with_policy('drain = { then = "delete" }'), 14, "policy.fast.drain.then",
        '"keep" or "disable"',
    ),
    "an unknown way with disabled keys": (
        with_policy('on_disabled = "ignore"'), 14, "policy.fast.on_disabled", '"hold" or "rotate"',
    ),
    "a limit of 400 digits": (
        with_key(f"limit = {'9' * 400}"), 20, "target[0].key.limit", "finite number",
    ),
    # targets
    "the same name twice": (change('"search"', '"billing-api"'), 22, "target[1].name", "target[0]"),
    "the same secret, spelled otherwise": (
        change('"secret/apps/search"\nfield = "KEY"', '"/secret//apps/./billing/"'), 23,
        "target[1].secret", "target[0]",
    ),
    "a path that climbs": (
        change("apps/search", "apps/../../sys/seal"), 23, "target[1].secret", '".."',
    ),
    "a path with a glob": (change("apps/search", "apps/*"), 23, "target[1].secret", "none of"),
    "a target in our own state": (
        change("secret/apps/search", "rotator/prod/x"), 23, "target[1].secret", "outside it",
    ),
    "a target that is the management key": (
        change('file = "/nowhere/management-key"', 'vault = "secret/apps/search#KEY"'), 23,
        "target[1].secret", "openrouter.management_key",
    ),
    "a policy that does not exist": (
        change('policy = "fast"', 'policy = "fats"'), 19, "target[0].policy", 'did you mean "fast"',
    ),
    "a target without a secret": (
        change('secret = "secret/apps/search"\n', ""), 21, "target[1].secret", 'secret = "secret/',
    ),
    "a negative limit": (with_key("limit = -1"), 20, "target[0].key.limit", "zero or more"),
    "a limit that is not a number": (with_key("limit = nan"), 20, "target[0].key.limit", "finite"),
    "an infinite limit": (with_key("limit = inf"), 20, "target[0].key.limit", "finite"),
    "a limit that is true": (with_key("limit = true"), 20, "target[0].key.limit", "US dollars"),
    "a limit that starts afresh every year": (
        with_key('limit_reset = "yearly"'), 20, "target[0].key.limit_reset", '"monthly"',
    ),
    "a workspace by its name": (
        with_key('workspace_id = "team-a"'), 20, "target[0].key.workspace_id", "UUID",
    ),
    "a guardrail": (
        with_key('guardrail = "strict"'), 20, "target[0].key.guardrail", "not in this release",
    ),
    "a key that expires before its successor has taken over": (
        with_key('expires_in = "15d"'), 20, "target[0].key.expires_in", "longer than 15d",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration_is_refused_with_its_place_and_a_remedy(name: str) -> None:
    text, line, where, said = BROKEN[name]
    found = problems(text)
    place = f"{FILE}:{line}: {where}: " if line else f"{FILE}: {where}: "
    assert len(found) == 1, found
    assert found[0].startswith(place), found[0]
    assert said in found[0], found[0]
    assert "\n" not in found[0]


def test_there_are_enough_broken_configurations() -> None:
    assert len(BROKEN) >= 45


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    text = (
        GOOD.replace('"prod"', '"PROD"', 1)
        .replace("[daemon]", "[daemon]\nworkers = 0")
        .replace('every = "7d"', 'every = "7 days"\njitter = "x"')
        .replace('policy = "fast"', 'policy = "slow"\nsize = 3')
        .replace("secret/apps/search", "rotator/prod/targets")
    )
    places = [problem.split(": ")[1] for problem in problems(text)]
    assert places == [
        "instance",
        "daemon.workers",
        "policy.fast.every",
        "policy.fast.jitter",
        "target[0].policy",
        "target[0].size",
        "target[1].secret",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'instance = "prod"\nbroken\n', "config.toml:2: is not TOML"),
        (b'instance = "prod"\ninstance = "prod"\n', "config.toml:2: is not TOML: Cannot overwrite"),
        (
            b"instance = prod",
            "config.toml:1: is not TOML: Invalid value (at line 1, column 12); texts stand in quotes",
        ),
        (f'management_key = "{KEY}'.encode(), "config.toml"),
        (b"a = \xff", "config.toml: is not UTF-8 text"),
        (b"a = " + b"[" * 50_000, "config.toml: is not TOML"),
        (b"a = " + b"9" * 5_000, "config.toml: is not TOML"),
    ],
)
def test_a_file_that_is_not_toml_is_refused_with_its_line(content: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(content, FILE)
    assert caught.value.problems[0].startswith(said)
    assert KEY not in "".join(traceback.format_exception(caught.value))
