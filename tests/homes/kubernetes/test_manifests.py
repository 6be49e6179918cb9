"""The manifests as kustomize builds them: valid, restricted, and in step with the rest of the project."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import rotator
from rotator.config import load
from tests.homes import containers

DEPLOY = containers.ROOT / "deploy"
OVERLAY = "kubernetes/overlays/example"
COMPONENTS = ("servicemonitor", "prometheusrule", "cronjob")
OF_THE_OPERATOR = ("ServiceMonitor", "PrometheusRule")
VERSIONS = ("1.27", "1.30", "1.34", "1.37")


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """A copy of the manifests that may be changed."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    return tmp_path / "deploy"


def built(kubectl: Path, folder: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(containers.ran([str(kubectl), "kustomize", str(folder)]).stdout))


def with_components(deploy: Path, *names: str) -> Path:
    """The example with some of the components that its comment names."""
    overlay = deploy / OVERLAY
    file = overlay / "kustomization.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    document["components"] = [f"../../components/{name}" for name in names]
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return overlay


def one(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("components", [(), *((name,) for name in COMPONENTS), COMPONENTS])
def test_what_kustomize_builds_is_valid(
    kubectl: Path, deploy: Path, components: tuple[str, ...], version: str
) -> None:
    documents = built(kubectl, with_components(deploy, *components))
    judged = [each for each in documents if each["kind"] not in OF_THE_OPERATOR]
    assert len(judged) >= 5
    for document in judged:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_base_builds_by_itself(kubectl: Path) -> None:
    kinds = {each["kind"] for each in built(kubectl, DEPLOY / "kubernetes/base")}
    assert kinds == {
        "Namespace", "ServiceAccount", "ConfigMap", "Deployment", "PodDisruptionBudget", "NetworkPolicy",
    }  # fmt: skip


@pytest.mark.parametrize("place", ["base", "overlays/example"])
def test_the_sample_configuration_loads_and_fits_the_manifests(place: str) -> None:
    config = load(DEPLOY / "kubernetes" / place / "config.toml")
    assert config.warnings == ()
    text = (DEPLOY / "kubernetes" / place / "config.toml").read_text(encoding="utf-8")
    template = yaml.safe_load((DEPLOY / "kubernetes/base/deployment.yaml").read_text())["spec"]
    spec = template["template"]["spec"]
    (container,) = spec["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    (token,) = spec["volumes"][1]["projected"]["sources"]
    path = f"{mounts['vault-token']}/{token['serviceAccountToken']['path']}"
    assert f'jwt = {{ file = "{path}" }}' in text
    assert f':{container["ports"][0]["containerPort"]}"' in text


def test_the_tags_are_the_version_of_this_source(kubectl: Path) -> None:
    for place in ("base", "overlays/example"):
        deployment = one(built(kubectl, DEPLOY / "kubernetes" / place), "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["image"].rpartition(":")[2] == rotator.__version__


def test_a_change_of_the_configuration_rolls_the_pods(kubectl: Path, deploy: Path) -> None:
    names = []
    for _ in range(2):
        documents = built(kubectl, deploy / OVERLAY)
        spec = one(documents, "Deployment")["spec"]["template"]["spec"]
        names.append(spec["volumes"][0]["configMap"]["name"])
        assert one(documents, "ConfigMap")["metadata"]["name"] == names[-1]
        with (deploy / OVERLAY / "config.toml").open("a", encoding="utf-8") as file:
            file.write('\n[daemon]\nheartbeat = "30s"\n')
    assert names[0] != names[1]


def test_no_volume_is_mounted_by_a_sub_path_as_it_would_never_be_renewed(
    kubectl: Path, deploy: Path
) -> None:
    text = yaml.safe_dump_all(built(kubectl, with_components(deploy, "servicemonitor")))
    assert "volumeMounts" in text
    assert "subPath" not in text


def test_the_job_takes_the_place_of_the_daemon_and_is_as_hardened(
    kubectl: Path, deploy: Path
) -> None:
    daemon = one(built(kubectl, deploy / OVERLAY), "Deployment")["spec"]["template"]["spec"]
    documents = built(kubectl, with_components(deploy, "cronjob"))
    kinds = [each["kind"] for each in documents]
    assert "Deployment" not in kinds
    assert "PodDisruptionBudget" not in kinds
    job = one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert job["containers"][0]["args"] == ["run", "--once"]
    assert job["containers"][0]["image"] == daemon["containers"][0]["image"]
    for key in ("securityContext", "volumes", "serviceAccountName", "automountServiceAccountToken"):
        assert job[key] == daemon[key]
    for key in ("securityContext", "volumeMounts", "resources"):
        assert job["containers"][0][key] == daemon["containers"][0][key]


@pytest.mark.parametrize("components", [(), ("cronjob",)])
def test_what_concerns_the_pods_selects_them_and_no_others(
    kubectl: Path, deploy: Path, components: tuple[str, ...]
) -> None:
    documents = built(kubectl, with_components(deploy, *components))
    if components:
        pod = one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]
    else:
        pod = one(documents, "Deployment")["spec"]["template"]
    selectors = [one(documents, "NetworkPolicy")["spec"]["podSelector"]]
    selectors += [
        each["spec"].get("selector", {})
        for each in documents
        if each["kind"] == "PodDisruptionBudget"
    ]
    for selector in selectors:
        # Without labels a budget selects no pod, and a policy every pod of a namespace.
        assert selector.get("matchLabels")
        assert selector["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_a_job_that_hangs_is_ended_before_it_keeps_all_others_from_beginning(
    kubectl: Path, deploy: Path
) -> None:
    job = one(built(kubectl, with_components(deploy, "cronjob")), "CronJob")["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 3600


def test_the_service_monitor_finds_the_service_and_its_port(kubectl: Path, deploy: Path) -> None:
    documents = built(kubectl, with_components(deploy, "servicemonitor"))
    service, monitor = one(documents, "Service"), one(documents, "ServiceMonitor")
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    template = one(documents, "Deployment")["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()


def test_the_rules_for_the_operator_are_those_that_promtool_tests(
    kubectl: Path, deploy: Path
) -> None:
    rule = one(built(kubectl, with_components(deploy, "prometheusrule")), "PrometheusRule")
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yaml").read_text(encoding="utf-8"))
    assert rule["spec"] == rules, "run deploy/kubernetes/components/prometheusrule/update"
