"""Prints what is installed beside it, as a CycloneDX 1.6 document: names, versions, licences, hashes.

It is run in the image's build with the interpreter of the environment that it describes, and takes
the lock file from which that environment was installed. A distribution that no lock pins at the
version that is installed ends it with an error, except for rotator itself.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

OURS = "openrouter-rotator"


def normal(name: str) -> str:
    """Return a distribution's name as registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text: str) -> dict[str, tuple[str, list[str]]]:
    """Return the version and the SHA-256 hashes of each distribution that a lock names."""
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    found = {}
    for entry in entries:
        name, _, version = entry.split()[0].partition("==")
        found[normal(name)] = (version, re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
    return found


def first(each: Distribution, field: str) -> str:
    """Return a field of a distribution's metadata, or nothing."""
    values: list[str] = each.metadata.get_all(field) or [""]
    return values[0].strip()


def component(each: Distribution, hashes: list[str]) -> dict[str, Any]:
    """Return one distribution as a component; its hashes are those of the files a lock allows."""
    name = normal(each.name)
    purl = f"pkg:pypi/{name}@{each.version}"
    entry: dict[str, Any] = {
        "type": "application" if name == OURS else "library",
        "bom-ref": purl,
        "name": name,
        "version": each.version,
        "purl": purl,
    }
    if expression := first(each, "License-Expression"):
        entry["licenses"] = [{"expression": expression}]
    elif classifiers := [
        line.rpartition(" :: ")[2]
        for line in each.metadata.get_all("Classifier") or []
        if line.startswith("License :: OSI Approved :: ")
    ]:
        entry["licenses"] = [{"license": {"name": classifier}} for classifier in classifiers]
    elif (told := first(each, "License")) and "\n" not in told:
        entry["licenses"] = [{"license": {"name": told}}]
    if hashes:
        entry["externalReferences"] = [
            {
                "type": "distribution",
                "url": purl,
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in hashes],
            }
        ]
    return entry


def document(lock: str) -> dict[str, Any]:
    """Return the whole document for the environment that runs this."""
    pins = locked(lock)
    ours: dict[str, Any] = {}
    parts = []
    for each in sorted(distributions(), key=lambda found: normal(found.name)):
        name = normal(each.name)
        if name == OURS:
            ours = component(each, [])
            continue
        version, hashes = pins.get(name, ("", []))
        if version != each.version:
            sys.exit(f"{name} {each.version} is installed, but the lock has {version or 'none'}")
        parts.append(component(each, hashes))
    depends = [{"ref": part["bom-ref"]} for part in parts]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, lock)}",
        "version": 1,
        "metadata": {"component": ours},
        "components": parts,
        "dependencies": [
            {"ref": ours["bom-ref"], "dependsOn": [each["ref"] for each in depends]},
            *depends,
        ],
    }


if __name__ == "__main__":
    lock = Path(sys.argv[1]).read_text(encoding="utf-8")
    sys.stdout.write(json.dumps(document(lock), indent=1) + "\n")
