"""``vault-policy``, at the real Vault: what it prints is enough for everything, and is the least."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import hvac
import hvac.exceptions
import pytest

from rotator.adapters.vault import TokenAuth, VaultClient, VaultLedgerStore, VaultSettings
from rotator.engine.lease import DOCUMENT as LEASE
from rotator.engine.pulse import DOCUMENT as PULSE
from rotator.errors import ServiceError
from rotator.ports import Clock
from rotator.secret import Secret
from tests.adapters.vault.conftest import HandClock
from tests.servers.vault_server import VaultServer
from tests.wiring.stand import CALM, QUICK, Stand, eventually

LINE = re.compile(r'^path "(.+)" \{ capabilities = \[(.+)\] \}$', re.MULTILINE)

Policy = dict[str, set[str]]


@dataclass(frozen=True, slots=True)
class Home:
    """A stand whose Vault is the real one, with all of it under a path of a test's own.

    Attributes:
        stand: the stand.
        address: Vault's.
        hands: a person with all rights.
        prefix: a name that no other test uses.
        mount: the KV engine that everything lies in.
    """

    stand: Stand
    address: str
    hands: hvac.Client
    prefix: str
    mount: str

    def begin(self, part: str, policy: str = CALM) -> str:
        """Point the configuration to a place where nothing is yet, and return that place."""
        place = f"{self.mount}/{self.prefix}/{part}"
        key = f'{{ vault = "{place}/root#key" }}'
        text = self.stand.write(policy=policy, vault=self.address, management_key=key).read_text()
        text = text.replace('"secret/rotator"', f'"{place}/state"')
        self.stand.path.write_text(text.replace('"secret/apps/', f'"{place}/apps/'))
        self.hands.secrets.kv.v2.create_or_update_secret(
            f"{self.prefix}/{part}/root",
            {"key": self.stand.sandbox.management_key},
            mount_point=self.mount,
        )
        return place

    def printed(self, *words: str) -> str:
        """Return what the command prints."""
        result = self.stand.call("vault-policy", *words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def allow(self, policy: str) -> str:
        """Give the stand a token that has only this policy, and return it."""
        self.hands.sys.create_or_update_policy(self.prefix, policy)
        made = self.hands.auth.token.create(
            policies=[self.prefix], no_default_policy=True, ttl="1h", renewable=True
        )
        token: str = made["auth"]["client_token"]
        self.stand.environment["STAND_VAULT_TOKEN"] = token
        return token


@pytest.fixture
def home(stand: Stand, real_vault: VaultServer) -> Iterator[Home]:
    hands = hvac.Client(url=real_vault.address, token=real_vault.root_token)
    yield Home(stand, real_vault.address, hands, uuid.uuid4().hex, "secret")
    hands.adapter.close()


def rights(policy: str) -> Policy:
    return {path: set(re.findall(r'"(\w+)"', rest)) for path, rest in LINE.findall(policy)}


def as_text(policy: Policy) -> str:
    return json.dumps({"path": {p: {"capabilities": sorted(c)} for p, c in policy.items()}})


def without_one(policy: Policy) -> Iterator[tuple[str, Policy]]:
    """Every policy that lacks one right of the given one."""
    for path, capabilities in policy.items():
        for capability in sorted(capabilities):
            less = {**policy, path: capabilities - {capability}}
            if not less[path]:
                del less[path]
            yield f"{capability} on {path}", less


EVERYTHING = (
    ("check",),
    ("run", "--once"),
    ("rotate", "billing-api"),
    ("hold", "billing-api", "--why", "lunch"),
    ("status",),
    ("plan",),
    ("release", "billing-api"),
    ("rollback", "billing-api"),
    ("rotate", "billing-api", "--compromised"),
    ("retire", "billing-api"),
    ("adopt", "billing-api"),
    ("check",),
)


def test_a_token_with_only_the_printed_policy_can_do_everything(home: Home) -> None:
    home.begin("all")
    home.allow(home.printed())
    for words in EVERYTHING:
        result = home.stand.call(*words)
        assert result.exit_code == 0, (words, result.output)
    assert "may not ask" not in home.stand.call("check").output


def documents(
    home: Home, place: str, token: str, clock: Clock
) -> tuple[VaultLedgerStore, VaultClient]:
    client = VaultClient(VaultSettings(home.address), TokenAuth(lambda: Secret(token)), clock)
    return VaultLedgerStore(client, f"{place}/state"), client


def works(home: Home, place: str, token: str) -> bool:
    """Whether all that takes a right of its own still works, from nothing on."""
    for words in (("run", "--once"), ("rotate", "billing-api"), ("status",), ("check",)):
        result = home.stand.call(*words)
        if result.exit_code != 0 or (words == ("check",) and "may not ask" in result.output):
            return False
    clock = HandClock()
    ledgers, client = documents(home, place, token, clock)
    try:
        for name in (LEASE, PULSE):
            version = ledgers.read(name).version
            version = ledgers.write(name, {"schema": 0}, cas=version).version
            ledgers.write(name, {"schema": 0}, cas=version)
        clock.seconds += 3000
        client.stay_logged_in()
    except ServiceError:
        return False
    finally:
        client.close()
    facts = home.hands.auth.token.lookup(token)["data"]
    return facts.get("last_renewal_time") is not None


def test_each_right_in_the_printed_policy_is_needed(home: Home) -> None:
    place = home.begin("whole")
    whole = rights(home.printed())
    assert works(home, place, home.allow(as_text(whole)))
    unneeded = []
    for number, _ in enumerate(without_one(whole)):
        place = home.begin(f"less-{number}")
        what, policy = list(without_one(rights(home.printed())))[number]
        if works(home, place, home.allow(as_text(policy))):
            unneeded.append(what)
    assert unneeded == []


FOREIGN: dict[str, Callable[[hvac.Client, str], object]] = {
    "delete the secret": lambda v, p: v.delete(f"secret/data/{p}/apps/billing-api"),
    "delete all versions": lambda v, p: v.delete(f"secret/metadata/{p}/apps/billing-api"),
    "delete old versions": lambda v, p: v.write_data(
        f"secret/delete/{p}/apps/billing-api", data={"versions": [1]}
    ),
    "destroy old versions": lambda v, p: v.write_data(
        f"secret/destroy/{p}/apps/billing-api", data={"versions": [1]}
    ),
    "change the secret's settings": lambda v, p: v.write_data(
        f"secret/metadata/{p}/apps/billing-api", data={"max_versions": 1}
    ),
    "list the secrets": lambda v, p: v.list(f"secret/metadata/{p}/apps"),
    "read a sibling": lambda v, p: v.read(f"secret/data/{p}/apps/billing-api2"),
    "read what lies below": lambda v, p: v.read(f"secret/data/{p}/apps/billing-api/more"),
    "write a sibling": lambda v, p: v.write_data(
        f"secret/data/{p}/apps/other", data={"data": {"a": "b"}}
    ),
    "write the management key": lambda v, p: v.write_data(
        f"secret/data/{p}/root", data={"data": {"key": "b"}}
    ),
    "delete the ledger": lambda v, p: v.delete(f"secret/data/{p}/state/targets/billing-api"),
    "read another target's ledger": lambda v, p: v.read(f"secret/data/{p}/state/targets/other"),
    "list the ledgers": lambda v, p: v.list(f"secret/metadata/{p}/state/targets"),
    "write the installation anew": lambda v, p: v.write_data(
        f"secret/data/{p}/state/installation", data={"data": {"id": "b"}}
    ),
    "read the engine's settings": lambda v, _: v.read("secret/config"),
    "list the engines": lambda v, _: v.sys.list_mounted_secrets_engines(),
    "list the policies": lambda v, _: v.sys.list_policies(),
    "list the login methods": lambda v, _: v.sys.list_auth_methods(),
    "make a token": lambda v, _: v.auth.token.create(),
    "list the tokens": lambda v, _: v.auth.token.list_accessors(),
    "seal": lambda v, _: v.sys.seal(),
    "list the audit devices": lambda v, _: v.sys.list_enabled_audit_devices(),
}


def test_what_is_not_needed_is_refused(home: Home) -> None:
    place = home.begin("refused")
    token = home.allow(home.printed())
    assert home.stand.call("run", "--once").exit_code == 0
    ours = hvac.Client(url=home.address, token=token)
    path = place.removeprefix("secret/")
    allowed = []
    for what, act in FOREIGN.items():
        try:
            act(ours, path)
        except hvac.exceptions.Forbidden:
            continue
        allowed.append(what)
    ours.adapter.close()
    assert allowed == []


def test_a_token_that_only_looks_reads_no_value_and_each_of_its_rights_is_needed(
    home: Home,
) -> None:
    place = home.begin("looking", QUICK)
    home.allow(home.printed())
    # An old key that is about to go makes `plan` look at it, for which it asks OpenRouter.
    for words in (("run", "--once"), ("rotate", "billing-api")):
        assert home.stand.call(*words).exit_code == 0
    eventually(lambda: "in 1s" not in home.stand.call("plan").output, "the grace is over")
    whole = rights(home.printed("--read-only"))

    def looks(policy: Policy) -> bool:
        token = home.allow(as_text(policy))
        done = all(home.stand.call(word).exit_code == 0 for word in ("status", "plan"))
        ledgers, client = documents(home, place, token, HandClock())
        try:
            ledgers.read(LEASE)
        except ServiceError:
            return False
        finally:
            client.close()
        return done

    assert looks(whole)
    assert [what for what, less in without_one(whole) if looks(less)] == []
    assert set.union(*whole.values()) == {"read"}
    home.allow(as_text(whole))
    assert home.stand.call("rotate", "billing-api").exit_code == 1
    ours = hvac.Client(url=home.address, token=home.stand.environment["STAND_VAULT_TOKEN"])
    with pytest.raises(hvac.exceptions.Forbidden):
        ours.read(f"{place}/apps/billing-api".replace("secret/", "secret/data/", 1))
    ours.adapter.close()


def ready(hands: hvac.Client, mount: str) -> bool:
    try:
        hands.read(f"{mount}/config")
    except hvac.exceptions.InvalidRequest:
        return False
    return True


def test_the_json_form_is_a_policy_as_well_and_a_mount_with_a_slash_is_named(home: Home) -> None:
    deep = Home(home.stand, home.address, home.hands, home.prefix, f"team/{home.prefix}")
    home.hands.sys.enable_secrets_engine("kv", path=deep.mount, options={"version": "2"})
    eventually(lambda: ready(home.hands, deep.mount), "the new engine is upgraded to version 2")
    deep.begin("deep")
    text = deep.printed("--json", "--mount", deep.mount)
    assert rights(deep.printed("--mount", f"/{deep.mount}/")) == {
        path: set(each["capabilities"]) for path, each in json.loads(text)["path"].items()
    }
    deep.allow(text)
    for words in EVERYTHING:
        result = home.stand.call(*words)
        assert result.exit_code == 0, (words, result.output)
    home.hands.sys.disable_secrets_engine(deep.mount)


# --- what is printed -----------------------------------------------------------------------------


def test_targets_in_one_secret_share_its_lines(stand: Stand) -> None:
    text = stand.write(["a", "b"]).read_text().replace("secret/apps/b", "secret/apps/a", 1)
    stand.path.write_text(text[::-1].replace("OPENROUTER_API_KEY"[::-1], "OTHER"[::-1], 1)[::-1])
    printed = stand.call("vault-policy").stdout
    assert printed.count('path "secret/data/apps/a"') == 1
    assert "# target a, target b\n" in printed
    assert printed.count("# ") == len(set(re.findall(r"^# .+$", printed, re.MULTILINE)))


def test_nothing_is_sent_and_no_secret_is_read(stand: Stand) -> None:
    stand.write(management_key='{ file = "/nowhere/at/all" }')
    stand.sandbox.calls.reset()
    assert stand.call("vault-policy", STAND_VAULT_TOKEN="").exit_code == 0
    assert stand.sandbox.calls.count("vault") == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--mount", "elsewhere/kv"], "no path of the configuration lies in elsewhere/kv"),
        (["--mount", "../sys"], "--mount: must be"),
    ],
)
def test_a_mount_that_is_of_no_use_is_wrong_usage(
    stand: Stand, words: list[str], told: str
) -> None:
    result = stand.call("vault-policy", *words)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_path_that_vault_would_take_for_a_template_is_refused(stand: Stand) -> None:
    text = stand.write(["a"]).read_text()
    stand.path.write_text(text.replace("secret/apps/a", "secret/{{identity.entity.id}}/a"))
    result = stand.call("vault-policy")
    assert result.exit_code == 2
    assert "template" in result.stderr


def test_a_quotation_mark_in_a_path_ends_no_line(stand: Stand) -> None:
    text = stand.write(["a"]).read_text()
    stand.path.write_text(text.replace('"secret/apps/a"', "'secret/apps/a\" {'"))
    assert 'path "secret/data/apps/a\\" {" {' in stand.call("vault-policy").stdout
