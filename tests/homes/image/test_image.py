"""The container image: what is in it, that it is built the same again, and that it works as nobody."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import rotator
from rotator.sandbox.server import Sandbox
from tests.homes import containers
from tests.homes.containers import ran, run_command
from tests.servers.vault_server import VaultServer

pytestmark = pytest.mark.timeout(300)

LOCK = containers.ROOT / "requirements/run.txt"


@pytest.fixture(scope="module")
def inspected(image: str) -> dict[str, Any]:
    (found,) = json.loads(ran(["podman", "image", "inspect", image]).stdout)
    assert isinstance(found, dict)
    return found


def shell(image: str, script: str) -> str:
    """Run a script by the image's shell and return what it printed."""
    command = run_command("-c", script, options=["--entrypoint", "sh"])
    return ran(command).stdout


# --- what is in it -------------------------------------------------------------------------------


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    assert ran([str(hadolint), "deploy/Dockerfile"]).stdout == ""


def test_the_base_is_pinned_to_a_patch_release_of_python() -> None:
    dockerfile = (containers.ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+\.\d+-slim-[a-z]+(@sha256:\w{64})?", base)
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["${BASE}", "${BASE}"]


def test_the_image_says_what_it_is_and_runs_as_a_number(inspected: dict[str, Any]) -> None:
    labels = inspected["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[prefix + "version"] == rotator.__version__
    assert labels[prefix + "licenses"] == "Apache-2.0"
    assert {prefix + "title", prefix + "description", prefix + "revision"} <= set(labels)
    assert inspected["Config"]["User"] == "10001:10001"
    assert inspected["Config"]["Entrypoint"] == ["rotator"]
    assert inspected["Config"]["Cmd"] == ["run"]


def test_what_the_image_adds_to_its_base_is_small(image: str) -> None:
    used = int(shell(image, "du -sk /opt/rotator").split()[0])
    assert used < 64 * 1024


def test_there_is_no_compiler_and_the_environment_has_no_installer(image: str) -> None:
    assert shell(image, "command -v cc gcc g++ clang make || true") == ""
    programs = shell(image, "ls /opt/rotator/bin").split()
    assert [name for name in programs if not name.startswith("python")] == ["rotator"]
    assert "No module named pip" in shell(image, "/opt/rotator/bin/python -m pip 2>&1 || true")


def test_nothing_in_it_belongs_to_or_can_be_written_by_the_one_who_runs_it(image: str) -> None:
    looked = "find /opt/rotator ! -type l -writable; find / -xdev -user 10001 2>/dev/null || true"
    assert shell(image, looked) == ""


def test_every_module_is_compiled_as_nothing_can_be_written_later(image: str) -> None:
    listed = shell(image, "find /opt/rotator/lib -name '*.py' -o -name '*.pyc'").split()
    sources = {Path(each) for each in listed if each.endswith(".py")}
    compiled = {Path(each) for each in listed if each.endswith(".pyc")}
    assert len(sources) > 500
    assert {path.parent.parent / f"{path.name.split('.')[0]}.py" for path in compiled} == sources


# --- from the lock, and the same again -----------------------------------------------------------


def test_the_bill_of_materials_is_valid_and_names_what_the_lock_pins(image: str) -> None:
    text = shell(image, "cat /opt/rotator/sbom.cdx.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    listed = {each["name"]: each["version"] for each in document["components"]}
    pins = re.findall(r"^([a-z0-9-]+)==(\S+) (;?)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed.items() <= {(name, version) for name, version, _ in pins}
    assert {name for name, _, marked in pins if not marked} <= set(listed)
    ours = document["metadata"]["component"]
    assert (ours["name"], ours["version"]) == ("openrouter-rotator", rotator.__version__)
    assert all(each["externalReferences"][0]["hashes"] for each in document["components"])
    assert [each["name"] for each in document["components"] if not each.get("licenses")] == []


def test_a_second_build_from_the_same_source_is_the_same_image(
    inspected: dict[str, Any], context: Path, tmp_path: Path
) -> None:
    name = "localhost/openrouter-rotator:again"
    elsewhere = tmp_path / "checkout"
    shutil.copytree(context, elsewhere, copy_function=shutil.copyfile)  # with times of its own
    containers.build(elsewhere, name)
    (again,) = json.loads(ran(["podman", "image", "inspect", name]).stdout)
    assert again["RootFS"] == inspected["RootFS"]  # the digests of its layers
    assert again["Config"] == inspected["Config"]


def test_the_locked_versions_are_not_known_to_be_vulnerable(not_done: list[str]) -> None:
    audit = Path(sys.executable).with_name("pip-audit")
    done = ran(
        [
            str(audit), "--requirement", str(LOCK), "--require-hashes", "--disable-pip",
            "--progress-spinner", "off", "--format", "json",
        ],
        check=False,
    )  # fmt: skip
    answered = done.stdout.startswith("{")
    judged = json.loads(done.stdout)["dependencies"] if answered else []
    known = [each for each in judged if "vulns" in each]
    if len(known) < len(judged) or not judged:
        not_done.append(
            f"the lock was NOT audited, or not wholly ({len(known)} of {len(judged) or 'all'}): "
            "pip-audit could not reach its data"
        )
    assert answered or "Error" in done.stderr, done.stderr
    assert [each["name"] for each in known if each["vulns"]] == []


# --- it works ------------------------------------------------------------------------------------

CONFIG = """\
instance = "image"

[openrouter]
base_url = "{openrouter}"
management_key = {{ file = "/run/secrets/management-key" }}
writes_per_minute = 6000

[vault]
address = "{vault}"
auth = {{ method = "token", token = {{ file = "/run/secrets/vault-token" }} }}
state = "secret/{prefix}/state"

[daemon]
heartbeat = "1s"
adopt_over = "0s"

[audit]
path = "-"

[policy.standard]
grace = "1h"

[[target]]
name = "billing-api"
secret = "secret/{prefix}/billing"
field = "OPENROUTER_API_KEY"
"""


@pytest.fixture
def mounted(tmp_path: Path, real_vault: VaultServer) -> Iterator[tuple[list[str], str]]:
    """Options that give a container its configuration and secrets, and where its secret lies."""
    with Sandbox(with_vault=False) as sandbox:
        prefix = uuid.uuid4().hex
        files = {
            "/etc/rotator/config.toml": CONFIG.format(
                openrouter=sandbox.openrouter_url, vault=real_vault.address, prefix=prefix
            ),
            "/run/secrets/management-key": sandbox.management_key,
            "/run/secrets/vault-token": real_vault.root_token,
        }
        options = []
        for number, (place, text) in enumerate(files.items()):
            file = tmp_path / str(number)
            file.write_text(text, encoding="utf-8")
            options.append(f"--volume={file}:{place}:ro")
        yield options, f"{prefix}/billing"


def test_help_and_an_offline_check_need_no_network_and_nothing_to_write(
    image: str, mounted: tuple[list[str], str]
) -> None:
    options, _ = mounted
    assert "Usage: rotator" in ran(run_command("--help")).stdout
    checked = ran(run_command("check", "--offline", options=options))
    assert "billing-api" in checked.stdout or "OK" in checked.stdout.upper()
    refused = ran(run_command("check", "--offline"), check=False)
    assert refused.returncode == 2  # no configuration was mounted


def test_a_key_is_rotated_from_the_image_and_the_audit_trail_is_on_standard_output(
    image: str, mounted: tuple[list[str], str], real_vault: VaultServer
) -> None:
    options, path = mounted
    once = ran(run_command("run", "--once", options=options, network="host"))
    events = [json.loads(line)["event"] for line in once.stdout.splitlines() if line[0] == "{"]
    assert {"key.create", "secret.publish"} <= set(events)
    client = hvac.Client(url=real_vault.address, token=real_vault.root_token)
    first = client.secrets.kv.v2.read_secret_version(path, raise_on_deleted_version=True)
    ran(run_command("rotate", "billing-api", options=options, network="host"))
    second = client.secrets.kv.v2.read_secret_version(path, raise_on_deleted_version=True)
    client.adapter.close()
    values = [found["data"]["data"]["OPENROUTER_API_KEY"] for found in (first, second)]
    assert values[0] != values[1]
    assert not any(value in once.stdout + once.stderr for value in values)


def test_the_daemon_runs_and_ends_well_on_sigterm(
    image: str, mounted: tuple[list[str], str]
) -> None:
    options, _ = mounted
    name = f"rotator-{uuid.uuid4().hex[:8]}"
    command = run_command(options=[*options, f"--name={name}"], network="host")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        first = json.loads(run.stdout.readline())
        assert first["instance"] == "image"
        ran(containers.podman("stop", "--time=60", name))
        _, logs = run.communicate(timeout=120)
    assert run.returncode == 0, logs
