"""Vault's KV engine, version 2: read, metadata, and writes by check-and-set, settled by a read.

Source of the fields: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2, and
Vault 1.21 as it was seen to answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeGuard

from hvac.api.secrets_engines import KvV2

from rotator.adapters.vault.client import VaultClient
from rotator.adapters.vault.failures import SERVICE, absent, read_failure, write_failure
from rotator.adapters.vault.paths import Place
from rotator.adapters.vault.reasons import rfc3339
from rotator.adapters.vault.transport import Answer, Outcome
from rotator.errors import CheckAndSetConflict, OutcomeUnknown, Refused, ServiceError, Transient
from rotator.ports import SecretMetadata, Written


@dataclass(frozen=True, slots=True)
class Version:
    """One version as it was read.

    Attributes:
        number: 0 where the path, or the version asked for, does not exist.
        created_time: when it was written, by Vault's clock; None for 0.
        data: its JSON object, or None where it is deleted, destroyed or absent.
        vault_time: Vault's clock.
    """

    number: int
    created_time: datetime | None
    data: Mapping[str, Any] | None = field(repr=False)
    vault_time: datetime


class KeyValue:
    """The engine, through one client. Paths are ``mount/path``."""

    def __init__(self, client: VaultClient) -> None:
        """Use a client's connections and token."""
        self._client = client

    def metadata(self, path: str) -> SecretMetadata:
        """Return the current version's number and time.

        Raises:
            Refused, Transient, Unauthorised: as the ports say.
        """
        operation = f"read metadata of {path}"
        place = self._client.locate(path)
        outcome = self._client.call(
            operation,
            lambda via: KvV2(via).read_secret_metadata(place.rest, mount_point=place.mount),
            needs=f"read on {place.metadata}",
        )
        if absent(outcome):
            return SecretMetadata(0, None, False, _date(operation, outcome))
        failure = read_failure(operation, outcome)
        if failure is not None:
            raise failure
        assert isinstance(outcome, Answer)
        now = _date(operation, outcome)
        current, versions = (outcome.data.get(key) for key in ("current_version", "versions"))
        if current == 0 and not isinstance(current, bool):
            return SecretMetadata(0, None, False, now)
        version = versions.get(str(current)) if isinstance(versions, dict) else None
        created = rfc3339(version.get("created_time")) if isinstance(version, dict) else None
        if not _is_number(current) or not isinstance(version, dict) or created is None:
            raise _not_kv2(operation, place, outcome, "versions")
        return SecretMetadata(current, created, _lives(version, now), now)

    def read(self, path: str, version: int | None = None) -> Version:
        """Return the current version with its data, or a given one.

        Raises:
            Refused, Transient, Unauthorised: as the ports say.
        """
        operation = f"read {path}"
        place = self._client.locate(path)
        outcome = self._client.call(
            operation,
            lambda via: KvV2(via).read_secret_version(
                place.rest,
                version=version,
                mount_point=place.mount,
                # Named because leaving it out warns; hvac only acts on it where it sees its own
                # exceptions, and those are not raised here.
                raise_on_deleted_version=True,
            ),
            needs=f"read on {place.data}",
        )
        if absent(outcome):
            return Version(0, None, None, _date(operation, outcome))
        # A deleted or destroyed version is a 404 too, but with its metadata.
        if not (
            isinstance(outcome, Answer) and outcome.status == 404 and "metadata" in outcome.data
        ):
            failure = read_failure(operation, outcome)
            if failure is not None:
                raise failure
        assert isinstance(outcome, Answer)
        data, metadata = outcome.data.get("data"), outcome.data.get("metadata")
        number = metadata.get("version") if isinstance(metadata, dict) else None
        created = rfc3339(metadata.get("created_time")) if isinstance(metadata, dict) else None
        if not _is_number(number) or created is None or not isinstance(data, dict | None):
            raise _not_kv2(operation, place, outcome, "metadata")
        return Version(number, created, data, _date(operation, outcome))

    def write(self, path: str, data: Mapping[str, Any], cas: int) -> Written:
        """Write by check-and-set: sent once, and once more only after a 403.

        Args:
            path: where.
            data: JSON object.
            cas: the version that must be the current one, 0 for none yet.

        Raises:
            CheckAndSetConflict: another version stands there.
            OutcomeUnknown: the answer was lost, and one read did not settle it.
            Refused, Transient, Unauthorised: as the ports say; nothing was written.
        """
        operation = f"write {path}"
        document = _json_copy(operation, data)
        place = self._client.locate(path)
        outcome = self._client.call(
            operation,
            lambda via: KvV2(via).create_or_update_secret(
                place.rest, secret=document, cas=cas, mount_point=place.mount
            ),
            needs=f"{'update' if cas else 'create'} on {place.data}",
        )
        failure = write_failure(operation, outcome)
        if failure is None:
            assert isinstance(outcome, Answer)
            written = _written(outcome, cas)
            if written is not None:
                return written
            failure = OutcomeUnknown(
                SERVICE, operation, "the answer does not say that it was written"
            )
        if not isinstance(failure, OutcomeUnknown):
            raise failure
        settled = self._settle(path, document, cas, failure)
        if isinstance(settled, ServiceError):
            raise settled
        return settled

    def _settle(
        self, path: str, document: Mapping[str, Any], cas: int, lost: OutcomeUnknown
    ) -> Written | ServiceError:
        """Decide by reading what became of a write whose answer was lost.

        Version ``cas + 1`` was made by exactly one writer. As long as it does not exist, the
        write may yet arrive.
        """
        try:
            version = self.read(path)
            if version.number > cas + 1:
                version = self.read(path, cas + 1)
        except ServiceError:
            return lost
        if version.number != cas + 1 or version.data is None or version.created_time is None:
            return lost
        if same_json(version.data, document):
            return Written(version.number, version.created_time, version.vault_time)
        return CheckAndSetConflict(
            SERVICE, lost.operation, "the answer was lost, and another writer made this version"
        )


def same_json(read: object, sent: object) -> bool:
    """Tell whether what Vault gave back is what it was given.

    Vault keeps every number as a 64-bit float (1.21 was seen to return 9007199254740993 as
    9007199254740992, and 50.0 as 50), and Python takes ``True`` for 1.
    """
    if isinstance(read, dict) and isinstance(sent, dict):
        return read.keys() == sent.keys() and all(same_json(read[k], sent[k]) for k in read)
    if isinstance(read, list) and isinstance(sent, list):
        return len(read) == len(sent) and all(map(same_json, read, sent))
    if isinstance(read, bool) or isinstance(sent, bool):
        return read is sent
    if isinstance(read, int | float) and isinstance(sent, int | float):
        try:
            return float(read) == float(sent)
        except OverflowError:
            return False
    return type(read) is type(sent) and read == sent


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _lives(version: Mapping[str, Any], now: datetime) -> bool:
    """Tell whether a version can be read; its ``deletion_time`` may lie in the future.

    Vault's clock comes without a fraction, so a time within this second counts as past.
    """
    deleted = rfc3339(version.get("deletion_time"))
    return version.get("destroyed") is not True and (
        deleted is None or deleted >= now + timedelta(seconds=1)
    )


def _date(operation: str, outcome: Outcome) -> datetime:
    """Return Vault's clock, without which no claim can be judged."""
    if isinstance(outcome, Answer) and outcome.date is not None:
        return outcome.date
    raise Transient(
        SERVICE, operation, "the answer has no Date header; a proxy may have removed it"
    )


def _not_kv2(operation: str, place: Place, answer: Answer, has: str) -> ServiceError:
    """Return what an answer is that lacks version 2's fields."""
    if answer.data and has not in answer.data:
        return Refused(
            SERVICE,
            operation,
            f"mount {place.mount} answers as KV version 1; "
            "rotator needs version 2 for check-and-set",
        )
    return Transient(SERVICE, operation, "the answer is not Vault's", status=answer.status)


def _written(answer: Answer, cas: int) -> Written | None:
    number, created = answer.data.get("version"), rfc3339(answer.data.get("created_time"))
    if number != cas + 1 or created is None:
        return None
    # A proxy may remove the Date; the time of the write is Vault's clock as well.
    return Written(cas + 1, created, answer.date or created.replace(microsecond=0))


def _json_copy(operation: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Vault will give back for this data, tuples as lists and so on.

    Raises:
        Refused: it cannot be written as JSON in UTF-8.
    """
    try:
        text = json.dumps(dict(data), allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        text = ""
    if not text:
        raise Refused(SERVICE, operation, "the data is not JSON")
    copy: dict[str, Any] = json.loads(text)
    return copy
