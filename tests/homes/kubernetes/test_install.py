"""The guide for Kubernetes, followed into a real API server, and the pods that come of it."""

from __future__ import annotations

import copy
import json
from typing import Any

import hvac
import pytest

from tests.homes import containers
from tests.homes.kubernetes.conftest import Installed
from tests.homes.kubernetes.node import NAMESPACE
from tests.wiring.stand import eventually

pytestmark = pytest.mark.timeout(420)


def served(installed: Installed) -> str:
    """The value that consumers of the target are served."""
    client = hvac.Client(url=installed.vault.address, token=installed.vault.root_token)
    found = client.secrets.kv.v2.read_secret_version("apps/billing", raise_on_deleted_version=True)
    client.adapter.close()
    return str(found["data"]["data"]["OPENROUTER_API_KEY"])


# --- the objects ---------------------------------------------------------------------------------


def test_the_guide_makes_everything_that_the_overlay_has(installed: Installed) -> None:
    made = installed.said("kubectl kustomize deploy/kubernetes/overlays/prod")
    for kind in (
        "namespace", "serviceaccount", "configmap", "deployment.apps", "poddisruptionbudget.policy",
        "networkpolicy.networking.k8s.io",
    ):  # fmt: skip
        assert f"{kind}/rotator" in made
    assert "Warning" not in made  # Pod Security warns of a template that it would refuse


def pod(installed: Installed, name: str) -> dict[str, Any]:
    """The pod that the Deployment's template makes."""
    template = copy.deepcopy(installed.node.template())
    return {
        "apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {**template["metadata"], "name": name, "namespace": NAMESPACE},
    }  # fmt: skip


def create(installed: Installed, document: dict[str, Any]) -> tuple[int, str]:
    done = installed.cluster.kubectl("create", "-f", "-", stdin=json.dumps(document), check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_pod_of_the_template_is_admitted_under_pod_security_restricted(
    installed: Installed,
) -> None:
    assert create(installed, pod(installed, "of-the-template")) == (
        0,
        "pod/of-the-template created\n",
    )


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("root", {"runAsUser": 0, "runAsNonRoot": False}),
        ("capabilities", {"capabilities": {"add": ["NET_ADMIN"]}}),
        ("escalation", {"allowPrivilegeEscalation": True}),
        ("unconfined", {"seccompProfile": {"type": "Unconfined"}}),
    ],
)
def test_a_pod_that_wants_more_is_refused(
    installed: Installed, what: str, change: dict[str, Any]
) -> None:
    wanting = pod(installed, f"wants-{what}")
    wanting["spec"]["containers"][0]["securityContext"] |= change
    code, told = create(installed, wanting)
    assert code != 0
    assert "forbidden" in told
    assert "violates PodSecurity" in told


def test_the_service_account_may_do_nothing_in_the_cluster(installed: Installed) -> None:
    who = f"--as=system:serviceaccount:{NAMESPACE}:rotator"
    for verb, kind in (
        ("get", "secrets"),
        ("list", "pods"),
        ("create", "pods"),
        ("get", "configmaps"),
    ):
        words = ("auth", "can-i", verb, kind, "--namespace", NAMESPACE, who)
        assert installed.cluster.kubectl(*words, check=False).stdout == "no\n"


# --- Vault ---------------------------------------------------------------------------------------


def login(installed: Installed, token: str) -> Any:
    client = hvac.Client(url=installed.vault.address)
    try:
        return client.auth.kubernetes.login(role="rotator", jwt=token)["auth"]
    finally:
        client.adapter.close()


def test_vault_reviews_the_token_at_the_api_server_and_lets_the_pods_account_in(
    installed: Installed,
) -> None:
    auth = login(installed, installed.node.token())
    assert auth["metadata"]["service_account_name"] == "rotator"
    assert auth["token_policies"] == ["default", "rotator"]


def test_vault_refuses_another_audience_and_another_account(installed: Installed) -> None:
    with pytest.raises(hvac.exceptions.Forbidden):
        login(installed, installed.node.token(audience="somebody-else"))
    installed.cluster.kubectl("create", "serviceaccount", "other", "--namespace", NAMESPACE)
    with pytest.raises(hvac.exceptions.Forbidden):
        login(installed, installed.node.token(account="other"))


# --- the pods ------------------------------------------------------------------------------------


def test_the_commands_of_the_guide_worked_inside_a_pod(installed: Installed) -> None:
    assert "billing-api" in installed.said("-- rotator check")
    logs = installed.said("-- rotator rotate billing-api")
    lines = [json.loads(line) for line in logs.splitlines() if line.startswith("{")]
    assert {"seq", "prev"} <= set().union(*lines)  # the audit trail, on standard output
    assert served(installed).startswith("sk-or-")
    assert served(installed) not in logs


@pytest.mark.parametrize("number", [0, 1])
def test_each_pod_answers_its_probes(installed: Installed, number: int) -> None:
    node = installed.node
    assert eventually(lambda: node.probe(number, "livenessProbe") == 200, "it lives")
    assert eventually(lambda: node.probe(number, "readinessProbe") == 200, "it is ready")


def test_a_pod_runs_as_the_template_says(installed: Installed) -> None:
    name = installed.node.container(0)
    (found,) = json.loads(containers.ran(["podman", "inspect", name]).stdout)
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["EffectiveCaps"] in (None, [])
    status = installed.node.inside(
        0, "sh", "-c", "id -u; grep -E 'NoNewPrivs|CapBnd' /proc/1/status"
    )
    assert status.split() == ["10001", "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]


def test_one_pod_is_killed_and_the_other_takes_over(installed: Installed) -> None:
    before = served(installed)
    installed.node.kill(0)
    assert installed.node.probe(1, "livenessProbe") == 200
    installed.node.inside(1, "rotator", "rotate", "billing-api")
    assert served(installed) != before
    assert installed.node.probe(1, "readinessProbe") == 200


def test_the_rest_of_the_guide_changes_and_uninstalls(installed: Installed) -> None:
    file = installed.follower.folder / "deploy/kubernetes/overlays/prod/config.toml"
    words = ("get", "deployment", "rotator", "--namespace", NAMESPACE, "--output", "json")
    before = json.loads(installed.cluster.kubectl(*words).stdout)["spec"]["template"]
    file.write_text(file.read_text(encoding="utf-8").replace('"1s"', '"2s"'), encoding="utf-8")
    installed.follower.do_all(installed.rest, until="check --offline")
    after = json.loads(installed.cluster.kubectl(*words).stdout)["spec"]["template"]
    names = [each["spec"]["volumes"][0]["configMap"]["name"] for each in (before, after)]
    assert names[0] != names[1]  # so the pods are replaced
    installed.follower.do_all(installed.rest, until="kubectl delete")
    assert list(installed.rest) == []
    gone = installed.cluster.kubectl(*words, check=False)
    assert "NotFound" in gone.stderr
