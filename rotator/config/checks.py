"""What concerns more than one setting: sums of durations, paths that collide, unsafe pairs.

Whatever is about time is asked of the same functions by which the planner decides, so
that a configuration is refused for what would really happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from urllib.parse import urlsplit

from rotator.config.locate import Path
from rotator.config.problems import Problem
from rotator.config.schema import (
    Auth,
    CertAuth,
    DaemonConfig,
    OpenRouterConfig,
    SecretSource,
    VaultConfig,
)
from rotator.config.targets import PolicyTable, TargetTable
from rotator.config.text import closest, is_loopback
from rotator.core.calendar import is_open, opens_at, window_spans
from rotator.core.durations import format_duration
from rotator.core.schedule import cron_sample, longest_gap, next_cron, period
from rotator.core.target import Policy, SecretRef

VERSIONS_KEPT = 10
"""How many versions of a secret Vault keeps, unless its metadata or its mount say otherwise."""

CLAIM_FACTOR = 4
"""A claim outlives so many calls of the slower service."""


def policy_problems(path: Path, table: PolicyTable) -> Iterator[Problem]:
    """Yield what is wrong with a policy whose settings are each in order."""
    if table.cron is not None and "every" in table.model_fields_set:
        yield Problem((*path, "cron"), "every is set as well: keep one of the two")
    if table.drain.deadline < table.drain.quiet_for:
        given = "deadline" if "deadline" in table.drain.model_fields_set else "quiet_for"
        yield Problem(
            (*path, "drain", given),
            f"the deadline ({_say(table.drain.deadline)}) is shorter than quiet_for "
            f"({_say(table.drain.quiet_for)}), so no key could go quiet in time: "
            "make deadline the longer",
        )
    policy = table.policy()
    try:
        nominal = period(policy)
    except ValueError as error:
        yield Problem((*path, "cron"), f'{error}; as in "0 3 1 * *"')
        return
    try:
        longest_gap(policy)
    except ValueError as error:
        yield Problem((*path, "blackouts"), f"{error}: make them shorter")
        return
    yield from _pace_problems(path, table, policy, nominal)
    if policy.cron is not None and policy.windows and not _meets(policy):
        yield Problem(
            (*path, "windows"),
            "no time of cron falls into any window, so each rotation would wait for the next "
            "opening: move cron into a window, or leave windows out",
        )


def _pace_problems(
    path: Path, table: PolicyTable, policy: Policy, nominal: timedelta
) -> Iterator[Problem]:
    """Yield durations that do not fit the time from one rotation to the next."""
    said = f"every ({_say(nominal)})" if policy.cron is None else f"cron's period ({_say(nominal)})"
    if policy.jitter >= nominal:
        yield Problem((*path, "jitter"), f"must be shorter than {said}")
    elif policy.cron is not None and policy.jitter + policy.min_age >= nominal:
        key = "min_age" if "min_age" in table.model_fields_set or not policy.jitter else "jitter"
        yield Problem(
            (*path, key),
            f"min_age ({_say(policy.min_age)}) and jitter ({_say(policy.jitter)}) together must be "
            f"shorter than {said}, or times of cron are skipped: set a shorter min_age",
        )
    elif policy.cron is None and "min_age" in table.model_fields_set:
        if policy.min_age > nominal:
            yield Problem((*path, "min_age"), f"must not be longer than {said}")
        elif policy.min_age > nominal - policy.jitter:
            yield Problem((*path, "min_age"), f"must not be longer than {said} less jitter")
    if policy.max_age is not None and policy.max_age < nominal:
        yield Problem((*path, "max_age"), f"must not be shorter than {said}")


def _meets(policy: Policy) -> bool:
    """Tell whether any time of cron, put off by up to the jitter, falls into a window."""
    weekly = replace(policy, blackouts=())
    if any(opens_at(weekly, moment) <= moment + policy.jitter for moment in cron_sample(policy)):
        return True
    # The sample of an expression with many times in a day does not reach every weekday.
    days = (date(2024, 1, 1) + timedelta(days=each) for each in range(366))
    return any(
        next_cron(policy, start - policy.jitter - timedelta(microseconds=1)) < end
        for day in days
        for start, end in window_spans(policy, day)
    )


def policy_warnings(path: Path, table: PolicyTable) -> Iterator[Problem]:
    """Yield what is legal in a policy but may surprise."""
    policy = table.policy()
    if policy.cron is None or not policy.windows or not policy.jitter:
        return
    if any(
        is_open(policy, moment) and not is_open(policy, moment + policy.jitter)
        for moment in cron_sample(policy)
    ):
        yield Problem(
            (*path, "jitter"),
            "reaches past the end of the window that cron falls into: "
            "some targets will wait for the next window",
        )


def service_problems(
    openrouter: OpenRouterConfig | None, vault: VaultConfig | None, daemon: DaemonConfig | None
) -> Iterator[Problem]:
    """Yield what is wrong with the two services and the loop, as far as each was read."""
    if openrouter is not None:
        yield from _transport(("openrouter", "base_url"), openrouter.base_url, openrouter.insecure)
    if vault is not None:
        yield from _transport(("vault", "address"), vault.address, vault.insecure)
        if vault.client_key is not None and vault.client_cert is None:
            yield Problem(("vault", "client_key"), "is of no use alone: set client_cert as well")
        if isinstance(vault.auth, CertAuth):
            if vault.client_cert is None:
                yield Problem(
                    ("vault", "client_cert"),
                    'is required by auth\'s method "cert": set it, and client_key, unless the key '
                    "stands in the same file",
                )
            if urlsplit(vault.address).scheme != "https":
                yield Problem(
                    ("vault", "address"),
                    'must be https:// for auth\'s method "cert": a certificate is shown by TLS',
                )
        for path, source in auth_sources(vault.auth):
            if source.vault is not None:
                yield Problem(
                    path, "cannot come from Vault, which it is to open: use file, env or credential"
                )
    timeouts = [each.timeout for each in (openrouter, vault) if each is not None]
    if daemon is not None and timeouts:
        least = CLAIM_FACTOR * max(timeouts)
        if daemon.claim_timeout < least:
            yield Problem(
                ("daemon", "claim_timeout"),
                f"must be at least {_say(least)}, four times the longer timeout of openrouter and "
                "vault: lengthen it, or shorten the timeout",
            )


def auth_sources(auth: Auth) -> Iterator[tuple[Path, SecretSource]]:
    """Yield the references to secrets in Vault's own login."""
    for key in type(auth).model_fields:
        value = getattr(auth, key)
        if isinstance(value, SecretSource):
            yield ("vault", "auth", key), value


def _transport(path: Path, url: str, insecure: bool) -> Iterator[Problem]:  # noqa: FBT001
    parts = urlsplit(url)
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname or ""):
        yield Problem(
            path,
            "would send secrets unencrypted: use https://, or set insecure = true beside it",
        )


def target_problems(
    targets: Mapping[int, TargetTable],
    policies: Mapping[str, Policy | None],
    vault: VaultConfig | None,
    openrouter: OpenRouterConfig | None,
) -> Iterator[Problem]:
    """Yield what is wrong with targets, each and together.

    Args:
        targets: the targets that were read, by their index in the file.
        policies: every policy by name, None where it could not be read.
        vault: for its state's path, as far as it was read.
        openrouter: for where the management key comes from, as far as it was read.
    """
    names: dict[str, int] = {}
    places: dict[SecretRef, str] = {}
    if openrouter is not None and openrouter.management_key.vault is not None:
        places[openrouter.management_key.vault] = "openrouter.management_key"
    for index, table in targets.items():
        path: Path = ("target", index)
        if table.name in names:
            yield Problem(
                (*path, "name"), f"is that of target[{names[table.name]}] too: choose another"
            )
        names.setdefault(table.name, index)
        place = SecretRef(table.secret, table.field)
        if place in places:
            yield Problem(
                (*path, "secret"),
                f"names the same secret and field as {places[place]}: "
                "give each its own secret or field",
            )
        places.setdefault(place, f"target[{index}]")
        if vault is not None and _is_within(table.secret, vault.state):
            yield Problem(
                (*path, "secret"),
                f"lies in vault.state ({vault.state}), where only our own documents are: "
                "choose a path outside it",
            )
        if table.policy not in policies:
            question = closest(table.policy, policies) or f"add [policy.{table.policy}]"
            yield Problem((*path, "policy"), f'there is no policy "{table.policy}"; {question}')
        policy = policies.get(table.policy)
        if policy is not None:
            yield from _expiry_problems(path, table, policy)


def _expiry_problems(path: Path, table: TargetTable, policy: Policy) -> Iterator[Problem]:
    """Yield an expiry that would come before the key's successor has taken over."""
    if table.key.expires_in is None:
        return
    gap = longest_gap(policy)
    needed = gap + policy.grace + policy.drain.deadline
    if table.key.expires_in <= needed:
        yield Problem(
            (*path, "key", "expires_in"),
            f"a key would expire before its successor has taken over: must be longer than "
            f"{_say(needed)}, which is the longest time between rotations ({_say(gap)}), grace "
            f"({_say(policy.grace)}) and drain.deadline ({_say(policy.drain.deadline)})",
        )


def target_warnings(targets: Mapping[int, TargetTable]) -> Iterator[Problem]:
    """Yield what is legal in targets but may be a mistake."""
    fields = Counter(table.secret for table in targets.values())
    for index, table in targets.items():
        if (count := fields.pop(table.secret, 0)) > VERSIONS_KEPT:
            yield Problem(
                ("target", index, "secret"),
                f"{count} targets are fields of this one secret, and each rotation makes a version "
                f"of it: Vault keeps {VERSIONS_KEPT} of them unless told otherwise, and what cannot "
                "be read counts as having been served, so that old keys may be kept on and on; "
                "give each target a secret of its own",
            )
        mount, first, *rest = table.secret.split("/")
        if first == "data" and rest:
            yield Problem(
                ("target", index, "secret"),
                f'names a secret that itself begins with "data/"; if the path of the HTTP API was '
                f'meant, write "{mount}/{"/".join(rest)}"',
            )


def _is_within(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _say(duration: timedelta) -> str:
    return format_duration(duration)
