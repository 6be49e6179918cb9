"""Runs the pods of a Deployment as a node would: by `podman kube play`, from what the API server has.

What a node brings is brought here: the ConfigMap's files, and a token of the service account, which
comes from the API server's TokenRequest as the kubelet's does. Both pods share the machine's network,
so each gets a loopback address of its own to listen on; nothing else of the template is changed.
"""

from __future__ import annotations

import copy
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from tests.homes import containers
from tests.servers.kubernetes_server import KubernetesServer

NAMESPACE = "rotator"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the sample's [http] table says

KUBECTL = """\
#!{python}
import os, sys
# The cluster has no node, so what is asked of one is asked of the pods that podman runs.
words = sys.argv[1:]
if words[:1] == ["--namespace"]:
    verb = words[2]
    if verb == "exec":
        inside = words[words.index("--") + 1:]
        os.execvp("docker", ["docker", "exec", "{first}", *inside])
    if verb == "logs":
        os.execvp("docker", ["docker", "logs", "{first}"])
if words[:1] == ["delete"]:
    words.append("--wait=false")  # nor has it a controller that would see a namespace off
os.execv("{kubectl}", ["kubectl", *words])
"""


class Node:
    """Stands for the nodes of a cluster; a context manager that leaves no pod behind.

    Args:
        cluster: the API server.
        folder: where to keep the pods' files; it is made.
        addresses: a loopback address for each pod.
    """

    def __init__(self, cluster: KubernetesServer, folder: Path, addresses: Sequence[str]) -> None:
        self._cluster = cluster
        self._folder = folder
        self._played: list[Path] = []
        self.addresses = tuple(addresses)
        self.pods = tuple(f"rotator-{number}" for number, _ in enumerate(addresses))
        folder.mkdir()

    def container(self, number: int) -> str:
        """The name of a pod's container."""
        return f"{self.pods[number]}-rotator"

    def write_kubectl(self, folder: Path) -> None:
        """Write a `kubectl` into a folder that asks these pods for what only a node can do."""
        program = folder / "kubectl"
        program.write_text(
            KUBECTL.format(
                python=sys.executable,
                first=self.container(0),
                kubectl=self._cluster.programs / "kubectl",
            ),
            encoding="utf-8",
        )
        program.chmod(0o755)

    def template(self) -> dict[str, Any]:
        """The pod template that the API server has."""
        found = self._get("deployment", "rotator")["spec"]["template"]
        assert isinstance(found, dict)
        return found

    def run_pods(self) -> None:
        """Start every pod."""
        template = self.template()
        for number in range(len(self.pods)):
            self._run(number, template)

    def token(self, audience: str = "vault", account: str = "rotator") -> str:
        """A token of a service account, for some audience, as the API server issues it."""
        asked = ("create", "token", account, "--namespace", NAMESPACE, "--audience", audience)
        return self._cluster.kubectl(*asked).stdout.strip()

    def kill(self, number: int) -> None:
        """End a pod's container as an out-of-memory kill would."""
        containers.ran(containers.podman("kill", "--signal=KILL", self.container(number)))

    def inside(self, number: int, *words: str) -> str:
        """Run a command in a pod; return what it wrote to standard output."""
        return containers.ran(containers.podman("exec", self.container(number), *words)).stdout

    def logs(self, number: int) -> str:
        """What a pod has written."""
        done = containers.ran(containers.podman("logs", self.container(number)))
        return done.stdout + done.stderr

    def probe(self, number: int, probe: str) -> int:
        """Ask as the kubelet does for a probe of the template; return the status, 0 for none."""
        container = self.template()["spec"]["containers"][0]
        (port,) = container["ports"]
        asked = container[probe]["httpGet"]
        assert asked["port"] == port["name"]
        url = f"http://{self.addresses[number]}:{port['containerPort']}{asked['path']}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=container[probe]["timeoutSeconds"]) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def close(self) -> None:
        """End and remove every pod, with what podman kept of it."""
        while self._played:
            file = self._played.pop()
            containers.ran(containers.podman("kube", "down", str(file)), check=False)
        for pod in self.pods:
            containers.ran(
                containers.podman("volume", "rm", "--force", f"config-{pod}"), check=False
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        words = ("get", kind, name, "--namespace", NAMESPACE, "--output", "json")
        found = json.loads(self._cluster.kubectl(*words).stdout)
        assert isinstance(found, dict)
        return found

    def _run(self, number: int, template: dict[str, Any]) -> None:
        pod = self.pods[number]
        spec = copy.deepcopy(template["spec"])
        (container,) = spec["containers"]
        container["image"] = containers.IMAGE
        del container[
            "ports"
        ]  # podman publishes them, which the machine's own network has no use for
        for probe in ("livenessProbe", "readinessProbe"):
            del container[probe]  # podman would need curl in the image; `probe` asks them
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        config = self._get("configmap", volumes["config"]["configMap"]["name"])["data"]
        volumes["config"]["configMap"]["name"] = f"config-{pod}"
        config["config.toml"] = config["config.toml"].replace(EVERYWHERE, self.addresses[number])
        (source,) = volumes["vault-token"].pop("projected")["sources"]
        token = self._folder / f"token-{pod}"
        token.mkdir()
        asked = source["serviceAccountToken"]
        (token / asked["path"]).write_text(self.token(asked["audience"]), encoding="utf-8")
        volumes["vault-token"]["hostPath"] = {"path": str(token), "type": "Directory"}
        documents = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"config-{pod}"}, "data": config},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": spec},
        ]  # fmt: skip
        file = self._folder / f"{pod}.yaml"
        file.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        self._played.append(file)
        # A run that was ended in the middle may have left a pod of that name.
        play = ("kube", "play", "--replace", "--network=host", str(file))
        containers.ran(containers.podman(*play))
