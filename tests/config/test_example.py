"""The example and the table in the documentation name every key, each with its true default."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from rotator.config import Auth, SecretSource, load
from rotator.config.load import TABLES, Head
from rotator.config.problems import nested
from rotator.core.target import Policy

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.toml"
DOCUMENTATION = ROOT / "docs" / "configuration.md"


def keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a table and of the tables in it, with its field."""
    for name, field in model.model_fields.items():
        inner = [each for each in nested(field.annotation) if each is not SecretSource]
        if not inner or field.is_required():
            yield f"{prefix}{name}", field
        for each in inner:
            yield from keys(each, f"{prefix}{name}.")


OF_THE_METHOD = "vault.auth.mount"
"""The key whose default differs from login method to login method: it is the method's name."""

SCHEMA: dict[str, FieldInfo] = dict(keys(Head, ""))
for table, table_model in TABLES.items():
    for each_key, each_field in keys(
        table_model, f"{table}.NAME." if table == "policy" else f"{table}."
    ):
        # A key of several login methods counts as required where one of them requires it.
        if each_key not in SCHEMA or not SCHEMA[each_key].is_required():
            SCHEMA[each_key] = each_field


def agrees(field: FieldInfo, literal: Any) -> bool:
    """Whether a value as TOML has it is a field's default."""
    shape: Any = Annotated[(field.annotation, "the field", *field.metadata)]
    adapter = TypeAdapter[Any](shape)
    return bool(adapter.validate_python(literal) == field.get_default(call_default_factory=True))


def value_at(document: Any, key: str) -> Any:
    """The value of a key such as ``policy.NAME.every``; raises `KeyError` where it is not there."""
    for part in key.split("."):
        if isinstance(document, list):
            document = document[0]
        document = document["standard" if part == "NAME" else part]
    return document


def test_the_example_is_a_configuration_as_it_stands() -> None:
    config = load(EXAMPLE)
    assert config.warnings == ()
    assert [target.policy for target in config.targets] == [Policy()]


@pytest.mark.parametrize("key", SCHEMA)
def test_the_example_has_every_key_with_its_default(key: str) -> None:
    text = EXAMPLE.read_text()
    field, active = SCHEMA[key], tomllib.loads(text)
    shown = tomllib.loads(re.sub(r"(?m)^# (?=[a-z_]+ = |\[)", "", text))
    if key.startswith("vault.auth.") and key != "vault.auth.method":
        assert key.rpartition(".")[2] + " = " in text
        return
    if field.is_required():
        value_at(active, key)
    elif field.get_default(call_default_factory=True) is None:
        value_at(shown, key)
        with pytest.raises(KeyError):
            value_at(active, key)
    else:
        assert agrees(field, value_at(shown, key))


def rows() -> dict[str, str]:
    """The keys in the documentation's tables with what is said of their default."""
    found = re.findall(r"(?m)^\| `([^`]+)` \| ([^|]+) \|", DOCUMENTATION.read_text())
    return {key: default for key, default in found if not key.startswith("{")}


def test_the_documentation_has_every_key_and_no_other() -> None:
    assert sorted(rows()) == sorted(SCHEMA)


@pytest.mark.parametrize("key", SCHEMA)
def test_the_documentation_gives_the_true_default(key: str) -> None:
    field, said = SCHEMA[key], rows()[key]
    if key == OF_THE_METHOD:
        assert said == "the method's name"
        return
    if field.is_required():
        assert said == "required"
    elif field.get_default(call_default_factory=True) is None:
        assert said == "none"
    else:
        assert agrees(field, tomllib.loads(f"value = {said.strip('`')}")["value"])


def test_each_login_method_is_mounted_under_its_name_by_default() -> None:
    models = [each for each in get_args(Auth) if "mount" in each.model_fields]
    assert len(models) == 4
    for model in models:
        (method,) = get_args(model.model_fields["method"].annotation)
        assert model.model_fields["mount"].default == method


def test_the_small_configuration_in_the_documentation_is_accepted(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        file = tmp_path / "config.toml"
        file.write_text(block)
        assert load(file).targets
