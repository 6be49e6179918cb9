"""References to secrets: where they lead, and that no content shows when they lead nowhere."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from rotator.config import SecretSource, resolve
from rotator.core.target import SecretRef
from rotator.errors import ConfigurationError
from rotator.secret import Secret

VALUE = "correct-horse-battery"


def found(source: SecretSource, **sources: object) -> str:
    arguments: dict[str, object] = {"env": {}, "read_file": Path.read_bytes, **sources}
    return resolve(source, "openrouter.management_key", **arguments).reveal()  # type: ignore[arg-type]


def refused(source: SecretSource, **sources: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        found(source, **sources)
    assert VALUE not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None
    (problem,) = caught.value.problems
    return problem


def source(**reference: str) -> SecretSource:
    return SecretSource.model_validate(reference)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_one_final_newline_of_a_file_is_no_part_of_the_secret(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(f"{VALUE}{ending}".encode())
    assert found(source(file=str(file))) == VALUE


def test_a_file_is_read_afresh_each_time(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first")
    reference = source(file=str(file))
    assert found(reference) == "first"
    file.write_text("second")
    assert found(reference) == "second"


def test_a_variable_a_credential_and_a_field_in_vault_are_followed(tmp_path: Path) -> None:
    (tmp_path / "management-key").write_text(VALUE)
    asked: list[SecretRef] = []

    def read_vault(reference: SecretRef) -> Secret:
        asked.append(reference)
        return Secret(VALUE)

    assert found(source(env="KEY"), env={"KEY": VALUE}) == VALUE
    folder = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert found(source(credential="management-key"), env=folder) == VALUE
    assert found(source(vault="/secret//root#key"), read_vault=read_vault) == VALUE
    assert asked == [SecretRef("secret/root", "key")]


def test_a_reference_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "key"
    assert refused(source(file=str(missing))) == (
        f"openrouter.management_key: file {missing}: cannot be read: No such file or directory"
    )
    assert refused(source(env="KEY")).endswith("env KEY: is not set")
    assert "started by systemd" in refused(source(credential="key"))
    assert refused(source(vault="a/b#c"), read_vault=lambda _: None).endswith("is not there")
    assert refused(source(vault="a/b#c")).endswith("vault a/b#c: is not there")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (f"{VALUE}\n\n".encode(), "line breaks"),
        (f"{VALUE} ".encode(), "blanks"),
        (f"{VALUE}\x00".encode(), "other characters"),
        (f"{VALUE}é".encode(), "other characters"),
        (VALUE.encode() + b"\xff", "is not text"),
        (VALUE.encode() * 10_000, "other characters"),
    ],
)
def test_what_could_not_be_sent_is_refused_and_not_shown(content: bytes, said: str) -> None:
    assert said in refused(source(file="/key"), read_file=lambda _: content)
