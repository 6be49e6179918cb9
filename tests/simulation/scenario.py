"""What one seed decides: targets, policies, replicas, consumers, and all that goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

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
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind

CALLS = {
    "openrouter.create": 6,
    "openrouter.get": 25,
    "openrouter.list": 12,
    "openrouter.whoami": 6,
    "openrouter.whoami_management": 1,
    "openrouter.disable": 5,
    "openrouter.enable": 1,
    "openrouter.delete": 5,
    "vault.read": 40,
    "vault.metadata": 60,
    "vault.write": 6,
    "vault.read_ledger": 60,
    "vault.write_ledger": 50,
    "audit.append": 150,
}
"""Every port call, with about how often it is made in one life."""

ACTS = frozenset(
    {
        "openrouter.create",
        "openrouter.disable",
        "openrouter.enable",
        "openrouter.delete",
        "vault.write",
        "vault.write_ledger",
        "audit.append",
    }
)

RARE = {
    "openrouter.create": 6,
    "openrouter.disable": 4,
    "openrouter.delete": 4,
    "openrouter.enable": 1,
    "openrouter.whoami_management": 2,
    "vault.write (secret.publish)": 5,
    "vault.write (secret.fence)": 1,
    "vault.write_ledger (claim)": 12,
    "vault.write_ledger (promote)": 5,
    "vault.write_ledger (disabled)": 3,
    "vault.write_ledger (removed)": 3,
    "vault.write_ledger (take_over)": 1,
    "vault.write_ledger (abandon)": 1,
    "vault.write_ledger (renew_claim)": 1,
    "vault.write_ledger (drop_claim)": 1,
    "vault.write_ledger (retire_keys)": 1,
    "vault.write_ledger (value_seen)": 2,
}
"""Steps in which most can be lost, with about how often they come in one life."""

LEADS: dict[str, tuple[Literal["fault", "weather", "hand"], str, str]] = {
    "openrouter.enable": ("hand", "paste_back", "vault.write_ledger (disabled)"),
    "openrouter.whoami_management": ("weather", "401", "openrouter.create"),
    "vault.write (secret.fence)": ("fault", Kind.DIE_AFTER, "openrouter.create"),
    "vault.write_ledger (take_over)": ("fault", Kind.UNSETTLED, "openrouter.create"),
    "vault.write_ledger (abandon)": ("fault", Kind.NO_EFFECT_LOST, "openrouter.create"),
    "vault.write_ledger (renew_claim)": ("hand", "other_field", "openrouter.whoami"),
    "vault.write_ledger (retire_keys)": ("fault", Kind.VERY_LATE, "vault.write"),
    "vault.write_ledger (drop_claim)": ("fault", Kind.REFUSED, "openrouter.disable"),
}
"""What leads to a step that an undisturbed life never comes to."""

WHERE = {
    "new_keys_lag": ("openrouter.create",),
    "new_keys_refused": ("openrouter.create",),
    "nobody_let_in": ("openrouter.create", "openrouter.whoami"),
    "list_fails": ("openrouter.list",),
    "404": ("openrouter.list", "openrouter.get"),
    "403_writes": ("openrouter.create", "openrouter.disable", "openrouter.delete"),
    "429": ("openrouter.create", "openrouter.disable"),
    "429_long": ("openrouter.create", "openrouter.disable"),
    "429_unsaid": ("openrouter.create", "openrouter.disable"),
    "stale_reads": ("vault.write (secret.publish)", "vault.write_ledger (claim)"),
    "paste_back": (
        "openrouter.disable",
        "openrouter.delete",
        "vault.write_ledger (disabled)",
        "vault.write_ledger (claim)",
    ),
    "enable_old": ("openrouter.delete", "vault.write_ledger (disabled)"),
    "other_field": ("openrouter.whoami", "vault.write (secret.publish)"),
}
"""Where some conditions and hands matter most."""

WEATHERS = (
    "401",
    "403",
    "403_writes",
    "404",
    "429",
    "429_long",
    "429_unsaid",
    "openrouter_down",
    "list_fails",
    "nobody_let_in",
    "new_keys_lag",
    "new_keys_refused",
    "vault_down",
    "vault_read_only",
    "vault_forbids",
    "audit_down",
    "stale_reads",
)

HANDS = (
    "paste_back",
    "paste_back",
    "paste_back",
    "paste_foreign",
    "paste_console_key",
    "other_field",
    "other_field",
    "other_field",
    "remove_field",
    "delete_secret",
    "recreate_secret",
    "recreate_same_version",
    "disable_served",
    "disable_old",
    "enable_old",
    "delete_served",
    "delete_old",
    "rename_key",
    "ledger_deleted",
    "ledger_rolled_back",
    "ledger_corrupted",
    "rotate",
    "rotate",
    "rotate_all",
    "compromised",
    "overwrite_foreign",
    "rollback",
    "rollback",
    "hold",
    "release",
    "retire",
    "kill",
    "kill",
)

SPANS = (3, 5, 30, 120, 200, 240, 290, 310, 600, 1800, 3600, 18000)
STEPS = (3600, -3600, 86400, -86400, 240, -240, 7200, 400, -400)
STARTS = (
    datetime(2026, 3, 1, 12, tzinfo=UTC),
    datetime(2026, 3, 28, 18, tzinfo=UTC),
    datetime(2026, 10, 24, 19, 30, tzinfo=UTC),
    datetime(2026, 3, 7, 23, tzinfo=UTC),
    datetime(2026, 12, 31, 9, tzinfo=UTC),
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that goes wrong, or that somebody does.

    Attributes:
        sort: a fault of one call, a condition that lasts, a person's hand, a clock's step.
        what: which fault, condition or hand.
        call: before which call it happens ("" for any call).
        number: the how-manieth such call.
        seconds: how long, how late or how far.
        target: the number of the target that it is about.
        replica: the number of the replica that it is about.
    """

    sort: Literal["fault", "weather", "hand", "clock"]
    what: str
    call: str
    number: int
    seconds: float = 0.0
    target: int = 0
    replica: int = 0

    def __str__(self) -> str:
        where = f"before {self.call or 'call'} number {self.number}"
        extra = f" {self.seconds:g} s" if self.seconds else ""
        return f"{self.sort} {self.what}{extra} {where} (target {self.target})"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One seeded life, before anything happened.

    Attributes:
        seed: the number that decided everything.
        start: the true time at which it begins.
        targets: what is configured.
        caches: by target, for how long its consumers go on with a value that they read.
        skews: by replica, how wrong its clock is, in seconds.
        resync: seconds between two full comparisons.
        claim_timeout: for how long a claim stands.
        lasts: seconds for which things go wrong.
        troubles: what goes wrong.
    """

    seed: int
    start: datetime
    targets: tuple[Target, ...]
    caches: tuple[timedelta, ...]
    skews: tuple[float, ...]
    resync: float
    claim_timeout: timedelta
    lasts: float
    troubles: tuple[Trouble, ...]

    def without(self, troubles: frozenset[int]) -> Scenario:
        """Return the same life without some of its troubles, by their numbers."""
        kept = tuple(each for n, each in enumerate(self.troubles) if n not in troubles)
        return replace(self, troubles=kept)


def scenario(seed: int) -> Scenario:
    """Return the life that a seed decides."""
    rng = random.Random(f"{seed}/scenario")
    start = rng.choice(STARTS)
    replicas = rng.choice((1, 1, 2, 2, 3))
    count = rng.choice((1, 1, 1, 2, 2, 3))
    shared = _policy(rng, start)
    targets = []
    for number in range(count):
        policy = shared if rng.random() < 0.5 else _policy(rng, start)
        targets.append(_target(rng, number, policy))
    caches = tuple(_cache(rng, each.policy) for each in targets)
    periods = max(_period(each.policy) for each in targets)
    lasts = 2.7 * periods.total_seconds()
    skews = tuple(rng.choice((0.0, 0.0, 2.0, -30.0, 150.0, -149.0)) for _ in range(replicas))
    troubles = _troubles(rng, count, replicas)
    resync = rng.choice((3600.0, 7200.0, 10800.0))
    timeout = timedelta(seconds=rng.choice((120, 300)))
    return Scenario(
        seed, start, tuple(targets), caches, skews, resync, timeout, lasts, tuple(troubles)
    )


def _period(policy: Policy) -> timedelta:
    return policy.every or timedelta(hours=6)


def _policy(rng: random.Random, start: datetime) -> Policy:
    minute = timedelta(minutes=1)
    quiet = rng.choice((1, 5, 10)) * minute
    drain = Drain(
        quiet_for=quiet,
        deadline=rng.choice((30, 120)) * minute,
        then=rng.choice(tuple(AfterDeadline)),
        evidence=rng.choice((Evidence.LAST_USED, Evidence.LAST_USED, Evidence.USAGE)),
    )
    policy = Policy(
        every=rng.choice((180, 240, 360)) * minute,
        grace=rng.choice((1, 10, 45)) * minute,
        drain=drain,
        quarantine=rng.choice((1, 20, 60)) * minute,
        on_disabled=rng.choice(tuple(OnDisabled)),
        jitter=rng.choice((0, 0, 20)) * minute,
        timezone=ZoneInfo(rng.choice(ZONES)),
        min_age=rng.choice((10, 60)) * minute,
    )
    if rng.random() < 0.25:
        cron = rng.choice(("0 */4 * * *", "30 1-23/5 * * *", "15 2,3,11,19 * * *"))
        policy = replace(policy, every=None, cron=cron)
    if rng.random() < 0.25:
        begins = rng.choice((0, 300, 1320))
        window = Window(EVERY_DAY, begins, (begins + rng.choice((480, 720))) % 1440)
        policy = replace(policy, windows=(window,))
    if rng.random() < 0.1:
        day: date = (start + timedelta(days=1)).date()
        policy = replace(policy, blackouts=(Blackout(day, day),))
    if rng.random() < 0.2:
        policy = replace(policy, max_age=timedelta(hours=rng.choice((7, 9))))
    return policy


def _target(rng: random.Random, number: int, policy: Policy) -> Target:
    key = rng.choice(
        (
            KeySettings(),
            KeySettings(limit=50.0, limit_reset="daily"),
            KeySettings(limit=20.0),
            KeySettings(expires_in=timedelta(days=3)),
        )
    )
    return Target(f"app{number}", SecretRef(f"secret/app{number}", FIELD), policy, key)


def _cache(rng: random.Random, policy: Policy) -> timedelta:
    grace = policy.grace
    deadline = policy.drain.deadline
    return rng.choice((timedelta(), grace / 2, grace / 2, grace * 2, grace + deadline * 2))


def _troubles(rng: random.Random, targets: int, replicas: int) -> list[Trouble]:
    troubles: list[Trouble] = []
    for _ in range(rng.choice((2, 3, 4, 5, 6))):
        troubles += _faults(rng)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        what = rng.choice(WEATHERS)
        seconds = rng.choice((10, 60, 300, 900, 3600))
        troubles.append(Trouble("weather", what, *_moment(rng, what), seconds))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 4))):
        what = rng.choice(HANDS)
        target, replica = rng.randrange(targets), rng.randrange(replicas)
        moment, seconds = _moment(rng, what), rng.choice(SPANS)
        troubles.append(Trouble("hand", what, *moment, seconds, target, replica))
    for _ in range(rng.choice((0, 0, 0, 1))):
        moment, replica = _moment(rng), rng.randrange(replicas)
        troubles.append(Trouble("clock", "step", *moment, rng.choice(STEPS), 0, replica))
    rng.shuffle(troubles)
    return troubles


def _moment(rng: random.Random, what: str = "") -> tuple[str, int]:
    drawn = rng.random()
    if what in WHERE and rng.random() < 0.7:
        call = rng.choice(WHERE[what])
        return call, rng.randint(1, {**CALLS, **RARE}[call])
    if drawn < 0.25:
        return "", rng.randint(1, 600)
    calls = CALLS if drawn < 0.5 else RARE
    call = rng.choice(tuple(calls))
    return call, rng.randint(1, calls[call])


def _faults(rng: random.Random) -> list[Trouble]:
    """Return a fault, and where its step needs one, the trouble that leads to it."""
    calls = CALLS if rng.random() < 0.5 else RARE
    call = rng.choice(tuple(calls))
    kinds = [*Kind, Kind.SLOW, Kind.SLOW_AFTER]
    if call.split(" ")[0] not in ACTS or call == "audit.append":
        kinds = [each for each in kinds if each not in (Kind.LATE, Kind.VERY_LATE)]
    number, span = rng.randint(1, calls[call]), rng.choice(SPANS)
    found = [Trouble("fault", rng.choice(kinds), call, number, span)]
    if call in LEADS:
        sort, what, where = LEADS[call]
        found.append(Trouble(sort, what, where, rng.randint(1, 3), rng.choice(SPANS)))
    return found
