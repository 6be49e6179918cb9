"""Reading the configuration: one file in, one frozen value or every problem at once out."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rotator.config import checks, text
from rotator.config.files import read_regular
from rotator.config.locate import Path as Place
from rotator.config.locate import locate
from rotator.config.problems import Model, Problem, say, unknown, validate
from rotator.config.schema import (
    AuditConfig,
    DaemonConfig,
    HttpConfig,
    KubernetesAuth,
    LogConfig,
    Name,
    OpenRouterConfig,
    SecretSource,
    Table,
    VaultConfig,
)
from rotator.config.targets import STANDARD, PolicyTable, TargetTable
from rotator.core.target import Policy, Target
from rotator.errors import ConfigurationError
from rotator.redaction import redact_bytes

LONGEST = 4 * 1024 * 1024
"""Bytes that the file may have: some twenty thousand targets."""

_MOST_DOTS = 1000
# In one line. `tomllib` takes quadratic time for a key of many parts.

_LINE = re.compile(r"at line (\d+)")
_OTHERS_MAY_READ = 0o004


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, checked.

    Attributes:
        instance: the name that stands in every key's marker.
        openrouter: the management API.
        vault: where consumers are served and our state is kept.
        daemon: the loop.
        http: the web server, or None where the file has no such table.
        audit: the audit trail.
        log: what goes to standard error.
        targets: in the file's order.
        source: the file.
        sha256: the SHA-256 of the file's bytes, 64 hex digits.
        warnings: what is legal but may be a mistake, one line each, as problems are told.
    """

    instance: str
    openrouter: OpenRouterConfig
    vault: VaultConfig
    daemon: DaemonConfig
    http: HttpConfig | None
    audit: AuditConfig
    log: LogConfig
    targets: tuple[Target, ...]
    source: Path
    sha256: str
    warnings: tuple[str, ...] = field(default=(), compare=False)


class Head(Table):
    """The keys above the first table."""

    instance: Name


TABLES: dict[str, type[Table]] = {
    "openrouter": OpenRouterConfig,
    "vault": VaultConfig,
    "daemon": DaemonConfig,
    "http": HttpConfig,
    "audit": AuditConfig,
    "log": LogConfig,
    "policy": PolicyTable,
    "target": TargetTable,
}
"""The model of each table of the file; there are many policies and targets, one of the others."""


def load(path: Path) -> Config:
    """Return the configuration that a file holds.

    Raises:
        ConfigurationError: it cannot be read or used; holds every problem with its line.
    """
    try:
        content = read_regular(path, LONGEST)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError((f"{path}: cannot be read: {reason}",)) from None
    return parse(content, path)


def parse(content: bytes, source: Path) -> Config:
    """Return the configuration that bytes hold, told of as if they stood in a file.

    Raises:
        ConfigurationError: it cannot be used; holds every problem with its line.
    """
    try:
        written = content.decode()
        _refuse_deep_keys(written, source)
        document = tomllib.loads(written)
    except UnicodeDecodeError:
        raise ConfigurationError((f"{source}: is not UTF-8 text",)) from None
    except (ValueError, RecursionError) as error:
        found = _LINE.search(str(error))
        line = f":{found.group(1)}" if found else ""
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        hint = "; texts stand in quotes" if reason.startswith("Invalid value") else ""
        raise ConfigurationError((f"{source}{line}: is not TOML: {reason}{hint}",)) from None
    lines = locate(written)
    try:
        reading = _Reading(document)
        config = reading.config(source, hashlib.sha256(content).hexdigest())
    except RecursionError:
        raise ConfigurationError((_too_deep(source),)) from None
    if config is None:
        raise ConfigurationError(say(reading.problems, lines, str(source)))
    return replace(config, warnings=say(list(reading.warnings()), lines, str(source)))


def _refuse_deep_keys(written: str, source: Path) -> None:
    """Refuse a key of so many parts that reading it would take for ever.

    Raises:
        ConfigurationError: there is one.
    """
    for number, line in enumerate(written.split("\n"), 1):
        if line.count(".") > _MOST_DOTS:
            raise ConfigurationError((_too_deep(source, f":{number}"),))


def _too_deep(source: Path, line: str = "") -> str:
    return f"{source}{line}: is nested too deeply: no setting lies deeper than three tables"


class _Reading:
    """One document on its way to a configuration; keeps the problems that are met.

    Each table is read on its own, so that a mistake in one hides none in another.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.problems: list[Problem] = []
        self._document = document
        head = {key: value for key, value in document.items() if key == "instance"}
        self._head = validate(Head, head, (), self.problems)
        self._openrouter = self._table(OpenRouterConfig, "openrouter")
        self._vault = self._table(VaultConfig, "vault")
        self._daemon = self._table(DaemonConfig, "daemon", {})
        self._http = self._table(HttpConfig, "http", {})
        self._audit = self._table(AuditConfig, "audit", {})
        self._log = self._table(LogConfig, "log", {})
        self._policies = self._read_policies()
        self._targets = self._read_targets()
        self._check()

    def config(self, source: Path, sha256: str) -> Config | None:
        """Return the configuration, or None where there are problems."""
        if (
            self.problems
            or self._head is None
            or self._openrouter is None
            or self._vault is None
            or self._daemon is None
            or self._audit is None
            or self._log is None
        ):
            return None
        policies = self._core_policies()
        return Config(
            instance=self._head.instance,
            openrouter=self._openrouter,
            vault=self._vault,
            daemon=self._daemon,
            http=self._http if "http" in self._document else None,
            audit=self._audit,
            log=self._log,
            targets=tuple(
                table.target(policy)
                for table in self._targets.values()
                if (policy := policies[table.policy]) is not None
            ),
            source=source,
            sha256=sha256,
        )

    def warnings(self) -> Iterator[Problem]:
        """Yield what is legal but may be a mistake."""
        if not self._targets:
            yield Problem(("target",), "there is no [[target]], so nothing is ever rotated")
        for name, table in self._policies.items():
            if table is not None:
                yield from checks.policy_warnings(("policy", name), table)
        yield from checks.target_warnings(self._targets)
        for path, secret in self._sources():
            if secret.file is not None and _others_may_read(secret.file):
                yield Problem(
                    path, f"{secret.file} may be read by everyone: chmod o= {secret.file}"
                )

    def _table(
        self, model: type[Model], key: str, default: dict[str, Any] | None = None
    ) -> Model | None:
        value = self._document.get(key, default)
        if value is None:
            self.problems.append(Problem((key,), f"the table [{key}] is required"))
            return None
        return validate(model, value, (key,), self.problems)

    def _read_policies(self) -> dict[str, PolicyTable | None]:
        found = self._document.get("policy", {})
        policies: dict[str, PolicyTable | None] = {STANDARD: PolicyTable()}
        if not isinstance(found, dict):
            self.problems.append(
                Problem(("policy",), f"must be tables such as [policy.{STANDARD}]")
            )
            return policies
        for name, value in found.items():
            if not isinstance(value, dict) and name in PolicyTable.model_fields:
                message = f"a policy needs a name: write [policy.{STANDARD}] above this key"
                self.problems.append(Problem(("policy", name), message))
                continue
            try:
                text.name(name)
            except ValueError as error:
                self.problems.append(Problem(("policy", name), str(error)))
            policies[name] = validate(PolicyTable, value, ("policy", name), self.problems)
        return policies

    def _read_targets(self) -> dict[int, TargetTable]:
        found = self._document.get("target", [])
        if not isinstance(found, list):
            message = "must be an array of tables: write [[target]], with two brackets"
            self.problems.append(Problem(("target",), message))
            return {}
        targets = {}
        for index, value in enumerate(found):
            table = validate(
                TargetTable, value, ("target", index), self.problems, spare_bad_values=True
            )
            if table is not None:
                targets[index] = table
        return targets

    def _check(self) -> None:
        for key in self._document:
            if key not in TABLES and key != "instance":
                self.problems.append(unknown((key,), ["instance", *TABLES]))
        refused = {name for name, table in self._policies.items() if table is None}
        for name, table in self._policies.items():
            if table is not None:
                found = list(checks.policy_problems(("policy", name), table))
                self.problems.extend(found)
                refused |= {name} if found else set()
        self.problems.extend(checks.service_problems(self._openrouter, self._vault, self._daemon))
        usable = {
            name: None if name in refused else policy
            for name, policy in self._core_policies().items()
        }
        self.problems.extend(
            checks.target_problems(self._targets, usable, self._vault, self._openrouter)
        )
        told = {problem.path for problem in self.problems}
        self.problems.extend(
            Problem(
                path, "holds what looks like a secret itself: refer to it, do not write it here"
            )
            for path, value in _strings(self._document, ())
            if path not in told and redact_bytes(value.encode()) != value.encode()
        )

    def _core_policies(self) -> dict[str, Policy | None]:
        return {
            name: None if table is None else table.policy()
            for name, table in self._policies.items()
        }

    def _sources(self) -> Iterator[tuple[Place, SecretSource]]:
        if self._openrouter is not None:
            yield ("openrouter", "management_key"), self._openrouter.management_key
        # A service account's token is written by Kubernetes, for its pod alone to read.
        if self._vault is not None and not isinstance(self._vault.auth, KubernetesAuth):
            yield from checks.auth_sources(self._vault.auth)


def _strings(value: object, path: Place) -> Iterator[tuple[Place, str]]:
    """Yield every text in a document with its place."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(inner, (*path, index))


def _others_may_read(file: Path) -> bool:
    """Tell whether a file is there and every user of the machine may read it."""
    try:
        return bool(file.stat().st_mode & _OTHERS_MAY_READ)
    except OSError:
        return False
