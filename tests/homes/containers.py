"""Builds the image and runs containers from it, on a machine without a container engine of its own.

Where no registry is reachable, a Debian with Python takes the place of the published base image;
ROTATOR_TEST_BASE names another that is in the local store already. Containers run in a mount
namespace with a cgroup2 tree of its own, as hybrid cgroups are nothing that crun runs in, and
without control groups and limits that a container may not set here.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/openrouter-rotator:homes"
SUITE = "trixie"
STAND_IN = f"localhost/rotator-test-base:{SUITE}"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates,passwd"
CONTEXT = (
    "requirements",
    "rotator",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "deploy",
    ".dockerignore",
)

BUILDAH = (sys.executable, str(Path(__file__).with_name("buildah.py")))
IN_NAMESPACE = (
    "unshare", "--mount", "--propagation", "private",
    "sh", "-c", 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"', "sh",
)  # fmt: skip
HARDENED = (
    "--no-healthcheck", "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)  # fmt: skip
SETTINGS = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
[engine.runtimes]
crun = ["{runtime}"]
"""
RUNTIME = """\
#!/bin/sh
exec crun --cgroup-manager=disabled "$@"
"""
DOCKER = """\
#!{python}
import os, sys
# What the guides call docker: podman, which takes the same commands, as it can run here. There is no
# registry, no control group and no network but the machine's own, so what asks for these is left out.
given, taken = sys.argv[1:], []
while given:
    word = given.pop(0)
    if word in ("--publish", "--memory"):
        given.pop(0)
    else:
        taken.append(word)
os.environ["CONTAINERS_CONF"] = "{settings}"
command, rest = taken[0], taken[1:]
if command == "build":
    words = [*{buildah}, "--format", "docker", "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro",
             "--build-arg", "BASE={base}", *rest]
elif command == "compose":
    # A second file says what differs here; `up` returns, as nobody is there to end it; there is no terminal.
    at = next(number for number, word in enumerate(rest) if word in ("up", "exec", "down"))
    verb = {{"up": ["up", "--detach"], "exec": ["exec", "-T"], "down": ["down", "--timeout", "5"]}}[rest[at]]
    words = ["{compose}", *rest[:at], "-f", os.path.join(os.path.dirname(rest[1]), "here.yaml"), *verb,
             *rest[at + 1:]]
elif command == "push":
    words = ["{podman}", "push", rest[0], "dir:{pushed}"]
else:
    network = ["--network", "host", "--no-healthcheck"] if command == "run" else []
    words = [*{namespace}, "{podman}", command, *network, *rest]
os.execvp(words[0], words)
"""


@functools.cache
def settings() -> Path:
    """Return a configuration for podman with which containers run here; it is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="rotator-podman-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    runtime = folder / "crun-without-cgroups"
    runtime.write_text(RUNTIME, encoding="utf-8")
    runtime.chmod(0o755)
    file = folder / "containers.conf"
    file.write_text(SETTINGS.format(runtime=runtime), encoding="utf-8")
    return file


def docker(folder: Path, name: str = "docker") -> Path:
    """Write a program `docker` into a folder, for guides that say docker; return the folder."""
    program = folder / name
    program.write_text(
        DOCKER.format(
            python=sys.executable,
            podman=shutil.which("podman"),
            compose=Path(sys.executable).with_name("podman-compose"),
            settings=settings(),
            base=base_image(),
            pushed=folder / "pushed",
            namespace=list(IN_NAMESPACE),
            buildah=list(BUILDAH),
        ),
        encoding="utf-8",
    )
    program.chmod(0o755)
    return folder


def ran(
    words: Sequence[str], *, check: bool = True, stdin: str | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a command; the error of one that fails shows what it wrote."""
    done = subprocess.run(words, check=False, capture_output=True, text=True, input=stdin, cwd=cwd)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def base_image() -> str:
    """Return the name of a base image in the local store, making the stand-in where it is missing."""
    if named := os.environ.get("ROTATOR_TEST_BASE"):
        return named
    if ran(["podman", "image", "exists", STAND_IN], check=False).returncode != 0:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        archive = cache / "openrouter-rotator" / "homes" / f"base-{SUITE}.tar"
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            partial = archive.with_suffix(f".{os.getpid()}.tar")
            ran(
                [
                    "mmdebstrap",
                    "--quiet",
                    "--variant=minbase",
                    f"--include={PACKAGES}",
                    SUITE,
                    str(partial),
                ]
            )
            partial.rename(archive)
        ran(["podman", "import", "--quiet", str(archive), STAND_IN])
    return STAND_IN


def copy_of_context(folder: Path, source_folder: Path = ROOT) -> Path:
    """Copy what the image is built from, without what running the tests leaves in it."""
    ignored = shutil.ignore_patterns("__pycache__")
    folder.mkdir(exist_ok=True)
    for name in CONTEXT:
        source = source_folder / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


def build(context: Path, name: str = IMAGE, *, arguments: Mapping[str, str] | None = None) -> str:
    """Build the image from a folder, without any cache; return its id."""
    given = {"BASE": base_image(), **(arguments or {})}
    ran(
        [
            *BUILDAH, "--format", "docker", "--timestamp", "0", "--no-cache",
            "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro",
            *(f"--build-arg={key}={value}" for key, value in given.items()),
            "--file", "deploy/Dockerfile", "--tag", name, ".",
        ],
        cwd=context,
    )  # fmt: skip
    return ran(["podman", "image", "inspect", "--format", "{{.Id}}", name]).stdout.strip()


def podman(*words: str) -> list[str]:
    """Return a command line that runs podman where containers can run."""
    return ["env", f"CONTAINERS_CONF={settings()}", *IN_NAMESPACE, "podman", *words]


def run_command(*words: str, options: Sequence[str] = (), network: str = "none") -> list[str]:
    """Return a command line for one container as Kubernetes would harden it, removed at its end."""
    return podman("run", "--rm", *HARDENED, f"--network={network}", *options, IMAGE, *words)
