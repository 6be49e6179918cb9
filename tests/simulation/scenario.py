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

STEPS = {
    "audit.append": 150,
    "openrouter.create": 4,
    "openrouter.get": 25,
    "openrouter.list": 12,
    "openrouter.whoami": 5,
    "openrouter.whoami_management": 1,
    "openrouter.disable": 3,
    "openrouter.enable": 1,
    "openrouter.delete": 3,
    "vault.read": 25,
    "vault.metadata": 60,
    "vault.read_ledger": 60,
    "vault.read_lease": 9,
    "vault.write_lease": 6,
    "vault.ask": 1,
    "vault.write (secret.publish)": 3,
    "vault.write (secret.fence)": 1,
    "vault.write_ledger (create)": 1,
    "vault.write_ledger (claim)": 9,
    "vault.write_ledger (promote)": 3,
    "vault.write_ledger (look)": 5,
    "vault.write_ledger (disabled)": 3,
    "vault.write_ledger (removed)": 3,
    "vault.write_ledger (take_over)": 1,
    "vault.write_ledger (abandon)": 1,
    "vault.write_ledger (renew_claim)": 1,
    "vault.write_ledger (drop_claim)": 1,
    "vault.write_ledger (retire_keys)": 1,
    "vault.write_ledger (value_seen)": 1,
    "vault.write_ledger (failure)": 1,
    "vault.write_ledger (retire)": 1,
    "vault.write_ledger (answer)": 1,
}
"""The rows of the table: every port call, with about how often it is made in a short life.

Writes are told apart by what is written. Each seed aims at one cell, the next seed at the next.
"""

RARE = tuple(step for step, often in STEPS.items() if often <= 9)
"""Steps in which most can be lost."""

ACTS = frozenset(
    {
        "openrouter.create",
        "openrouter.disable",
        "openrouter.enable",
        "openrouter.delete",
        "vault.write",
        "vault.write_ledger",
        "vault.write_lease",
        "vault.ask",
    }
)

OF_LEASES = ("vault.read_lease", "vault.write_lease", "vault.ask", "vault.write_ledger (answer)")
"""Steps that are made only where there is a lease: in half of the lives."""

OF_NO_LEASE = ("vault.write_ledger (retire)",)
"""Steps of commands that act themselves, which they do not while somebody holds a lease."""

ODD = ("malformed", "cut", "unsaid", "daily", "stale", "not_there", "conflict")
"""Faults of one call that only the simulator has, each as the adapters hand it on.

* malformed: HTML, or JSON that is cut. Of a change it is known only that it was answered.
* cut: a 4xx cut half way. Nothing happened, but nobody can know that.
* unsaid, daily: a 429 without ``Retry-After``, and one that lasts until 00:00 UTC.
* stale: what was true some seconds ago.
* not_there: a 404 that is not true.
* conflict: a stranger writes right before the write.
"""

FAULTS = (*map(str, Kind), *ODD)

_ERRORS = frozenset(map(str, (Kind.LIMITED, Kind.REFUSED, Kind.FORBIDDEN, Kind.UNAUTHORISED)))
_UNKNOWNS = frozenset(map(str, (Kind.UNSETTLED, Kind.NO_EFFECT_LOST)))
_DELAYS = frozenset(map(str, (Kind.LATE, Kind.VERY_LATE)))
_OTHERS = {
    "daily": "openrouter.",
    "stale": "openrouter.get openrouter.list vault.read vault.metadata vault.read_ledger "
    "vault.read_lease",
    "not_there": "openrouter.get openrouter.disable openrouter.enable openrouter.delete "
    "openrouter.whoami",
    "conflict": "vault.write vault.write_ledger",
}


def possible(step: str, fault: str) -> bool:
    """Tell whether a fault differs at a step from every other."""
    call = step.split(" ", maxsplit=1)[0]
    if call == "audit.append":
        return fault not in _ERRORS | _DELAYS | {*ODD} | {Kind.UNSETTLED}
    if fault in _DELAYS:
        return call in ACTS
    if call not in ACTS and fault in _UNKNOWNS:
        return False
    if fault == "daily":
        return call.startswith("openrouter.")
    if step.endswith("(create)") and fault == "conflict":  # there is nothing yet to write anew
        return False
    return call in _OTHERS[fault].split() if fault in _OTHERS else True


CELLS = tuple((step, fault) for step in STEPS for fault in FAULTS if possible(step, fault))
"""The cells of the table."""

LEADS: dict[str, tuple[tuple[Literal["fault", "weather", "hand"], str, str], ...]] = {
    "openrouter.enable": (("hand", "paste_back", "vault.write_ledger (disabled)"),),
    "openrouter.whoami_management": (("weather", "401", "openrouter.create"),),
    "vault.write (secret.fence)": (("fault", Kind.DIE_AFTER, "openrouter.create"),),
    "vault.write_ledger (take_over)": (("fault", Kind.UNSETTLED, "openrouter.create"),),
    "vault.write_ledger (abandon)": (("fault", Kind.NO_EFFECT_LOST, "openrouter.create"),),
    "vault.write_ledger (renew_claim)": (("hand", "other_field", "openrouter.whoami"),),
    "vault.write_ledger (retire_keys)": (
        ("hand", "rewrite_secret", "vault.write (secret.publish)"),
        ("fault", Kind.NO_EFFECT_LOST, "vault.write (secret.publish)"),
    ),
    "vault.write_ledger (drop_claim)": (("fault", Kind.REFUSED, "openrouter.disable"),),
    "vault.write_ledger (value_seen)": (("hand", "paste_back", "vault.write_ledger (disabled)"),),
    "vault.write_ledger (failure)": (("fault", Kind.ERROR, "openrouter.get"),),
    "vault.write_ledger (retire)": (
        ("hand", "retire", "openrouter.disable"),
        ("hand", "retire", "vault.write_ledger (disabled)"),
    ),
    "vault.ask": (("hand", "rotate", "vault.write_ledger (promote)"),),
    "vault.write_ledger (answer)": (("hand", "hold", "vault.write_ledger (promote)"),),
}
"""What leads to a step that an undisturbed life never comes to."""

WHERE = {
    "new_keys_lag": ("openrouter.create",),
    "new_keys_refused": ("openrouter.create",),
    "nobody_let_in": ("openrouter.create", "openrouter.whoami"),
    "list_fails": ("openrouter.list",),
    "stale_account": ("openrouter.list", "openrouter.get", "openrouter.disable"),
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
    "rewrite_secret": ("openrouter.whoami", "vault.write (secret.publish)"),
    "ledger_rewritten": ("openrouter.create", "vault.write_ledger (claim)"),
    "rollback": ("vault.write_ledger (promote)", "vault.write_ledger (disabled)"),
    "spend": ("openrouter.create", "vault.write_ledger (promote)"),
    "suspend": ("openrouter.create", "openrouter.disable", "vault.write_ledger (claim)"),
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
    "429_daily",
    "openrouter_down",
    "list_fails",
    "stale_account",
    "nobody_let_in",
    "new_keys_lag",
    "new_keys_refused",
    "vault_sealed",
    "vault_standby",
    "vault_read_only",
    "vault_forbids",
    "audit_down",
    "stale_reads",
)

HANDS = (
    "paste_back",
    "paste_foreign",
    "paste_console_key",
    "other_field",
    "rewrite_secret",
    "remove_field",
    "delete_secret",
    "recreate_secret",
    "recreate_same_version",
    "recreate_higher",
    "disable_served",
    "disable_old",
    "enable_old",
    "delete_served",
    "delete_old",
    "rename_key",
    "spend",
    "ledger_deleted",
    "ledger_rolled_back",
    "ledger_corrupted",
    "ledger_rewritten",
    "lease_lost",
    "rotate",
    "rotate_all",
    "compromised",
    "overwrite_foreign",
    "rollback",
    "hold",
    "release",
    "retire",
    "kill",
    "suspend",
    "remove_target",
    "add_target",
    "change_policy",
)

OFTEN = ("paste_back", "paste_back", "other_field", "other_field", "rotate", "rollback", "kill")
"""Hands that come more often than the rest."""

CLOCKS = ("step", "restart")
"""A clock that is set anew while its process runs, or before the process is started again."""

CONDITIONS = (
    *(("weather", what) for what in WEATHERS),
    *(("hand", what) for what in HANDS),
    *(("clock", what) for what in CLOCKS),
)
"""What is no fault of one call; each seed has one of them at least, the next seed the next."""

SPANS = (3, 5, 30, 120, 200, 240, 290, 310, 600, 1800, 3600, 18000)
CLOCK_STEPS = (3600, -3600, 86400, -86400, 240, -240, 7200, 400, -400)
STARTS = (
    datetime(2026, 3, 1, 12, tzinfo=UTC),
    datetime(2026, 3, 28, 18, tzinfo=UTC),
    datetime(2026, 10, 24, 19, 30, tzinfo=UTC),
    datetime(2026, 3, 7, 23, tzinfo=UTC),
    datetime(2026, 12, 31, 9, tzinfo=UTC),
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
EVERY_DAY = frozenset(range(7))
_LONG_ENOUGH = timedelta(hours=30)
"""A key that expires is rotated before it does, were all replicas away for a day."""


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
        lease: for how long a lease is good; zero where there is none.
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
    lease: timedelta
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
    replicas = rng.choice((1, 1, 1, 2, 2, 3))
    count = rng.choice((1, 1, 1, 1, 2, 2, 3))
    shared = policy_for(rng, start)
    targets = []
    for number in range(count):
        policy = shared if rng.random() < 0.5 else policy_for(rng, start)
        targets.append(_target(rng, number, policy))
    caches = tuple(_cache(rng, each.policy) for each in targets)
    periods = max(_period(each.policy) for each in targets)
    lasts = (3.2 if count == 1 else 2.4) * periods.total_seconds()
    skews = tuple(rng.choice((0.0, 0.0, 2.0, -30.0, 150.0, -149.0)) for _ in range(replicas))
    troubles = _troubles(rng, seed, count, replicas)
    resync = rng.choice((3600.0, 7200.0, 10800.0))
    timeout = timedelta(seconds=rng.choice((120, 300)))
    aimed = CELLS[seed % len(CELLS)][0]
    leased = aimed in OF_LEASES or (rng.random() < 0.5 and aimed not in OF_NO_LEASE)
    lease = timedelta(seconds=rng.choice((600, 1500, 3600)) if leased else 0)
    return Scenario(
        seed, start, tuple(targets), caches, skews, resync, timeout, lease, lasts, tuple(troubles)
    )


def _period(policy: Policy) -> timedelta:
    return policy.every or timedelta(hours=6)


def policy_for(rng: random.Random, start: datetime) -> Policy:
    """Return a policy with short waits."""
    minute = timedelta(minutes=1)
    quiet = rng.choice((4, 10, 20)) * minute
    drain = Drain(
        quiet_for=quiet,
        deadline=rng.choice((30, 90)) * minute,
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
            KeySettings(expires_in=_LONG_ENOUGH + _period(policy) + policy.grace),
        )
    )
    return Target(f"app{number}", SecretRef(f"secret/app{number}", FIELD), policy, key)


def _cache(rng: random.Random, policy: Policy) -> timedelta:
    grace = policy.grace
    deadline = policy.drain.deadline
    return rng.choice((timedelta(), grace / 2, grace / 2, grace * 2, grace + deadline * 2))


def _troubles(rng: random.Random, seed: int, targets: int, replicas: int) -> list[Trouble]:
    """Return what goes wrong: one cell of the table and one condition by the seed's number."""
    aimed, fault = CELLS[seed % len(CELLS)]
    often = STEPS[aimed]
    number = rng.randint(1, often if often > 9 else min(2, often))
    troubles = _fault(rng, aimed, fault, number)
    for _ in range(rng.choice((0, 1, 2, 3, 4))):
        step = rng.choice(RARE) if rng.random() < 0.5 else rng.choice(tuple(STEPS))
        fault = rng.choice([each for each in FAULTS if possible(step, each)])
        troubles += _fault(rng, step, fault, rng.randint(1, STEPS[step]))
    chosen = [CONDITIONS[seed % len(CONDITIONS)]]
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        drawn = rng.random()
        if drawn < 0.25:
            chosen.append(("weather", rng.choice(WEATHERS)))
        elif drawn < 0.95:
            chosen.append(("hand", rng.choice(HANDS + OFTEN)))
        else:
            chosen.append(("clock", rng.choice(CLOCKS)))
    if ("hand", "add_target") in chosen:
        chosen.append(("hand", "remove_target"))
    for sort, what in chosen:
        troubles.append(
            _condition(rng, sort, what, rng.randrange(targets), rng.randrange(replicas))
        )
    rng.shuffle(troubles)
    return troubles


def _condition(rng: random.Random, sort: str, what: str, target: int, replica: int) -> Trouble:
    call, number = _moment(rng, what)
    match sort:
        case "weather":
            seconds = rng.choice((10, 60, 300, 900, 3600 if what.startswith("429") else 900))
            return Trouble("weather", what, call, number, seconds)
        case "clock":
            return Trouble("clock", what, call, number, rng.choice(CLOCK_STEPS), 0, replica)
        case _:
            spans = (18000, 40000, 90000) if what == "suspend" else SPANS
            return Trouble("hand", what, call, number, rng.choice(spans), target, replica)


def _moment(rng: random.Random, what: str = "") -> tuple[str, int]:
    if what in WHERE and rng.random() < 0.7:
        call = rng.choice(WHERE[what])
        return call, rng.randint(1, STEPS[call])
    drawn = rng.random()
    if drawn < 0.3:
        return "", rng.randint(1, 400)
    call = rng.choice(tuple(STEPS) if drawn < 0.5 else RARE)
    return call, rng.randint(1, STEPS[call])


def _fault(rng: random.Random, step: str, fault: str, number: int) -> list[Trouble]:
    """Return a fault, and where its step needs one, the trouble that leads to it."""
    found = [Trouble("fault", fault, step, number, rng.choice(SPANS))]
    which = rng.choice((1, 2, 2))
    for sort, what, where in LEADS.get(step, ()):
        found.append(Trouble(sort, what, where, which, rng.choice(SPANS[:-1])))
    return found
