"""The published OpenAPI document as the judge of the simulated provider's answers.

The document is not part of this project. It is looked for where ROTATOR_OPENAPI says, else beside the
project; tests that need it skip, loudly, where it is not.
"""

from __future__ import annotations

import http.client
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from rotator.sandbox.server import Sandbox

ROOT = Path(__file__).parents[2]
DOCUMENT = Path(
    os.environ.get("ROTATOR_OPENAPI", ROOT.parent / "shared/reference/openrouter.openapi.yaml")
)
HOW_TO_GET_IT = f"no OpenAPI document at {DOCUMENT}: name it by ROTATOR_OPENAPI"


class Published:
    """Every answer of every key call, judged by the published document."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.spec = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
        resource = DRAFT202012.create_resource(self.spec)
        self.registry: Registry[Any] = Registry().with_resource("urn:spec", resource)
        self.judged: set[tuple[str, str, int]] = set()

    def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = "", query: str = ""
    ) -> Any:
        """Send a call; fail unless its answer is one that the document describes."""
        address = urlsplit(self.sandbox.openrouter_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
        headers = {}
        if key is not None:
            headers["Authorization"] = f"Bearer {key or self.sandbox.management_key}"
        payload = None if body is None else json.dumps(body)
        connection.request(method, address.path + path + query, payload, headers)
        answer = connection.getresponse()
        value = json.loads(answer.read())
        connection.close()
        self.judge(method, path, answer.status, value)
        return value

    def template(self, path: str) -> str:
        """Return the document's own name of a path."""
        if path in self.spec["paths"]:
            return path
        known: list[str] = list(self.spec["paths"])
        return next(
            template
            for template in known
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
        )

    def judge(self, method: str, path: str, status: int, value: Any) -> None:
        template = self.template(path)
        responses = self.spec["paths"][template][method.lower()]["responses"]
        assert str(status) in responses, f"{method} {template} is not known to answer {status}"
        place = "/".join(
            part.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
            for part in (
                *("paths", template, method.lower(), "responses", str(status)),
                *("content", "application/json", "schema"),
            )
        )
        schema = {"$ref": f"urn:spec#/{place}"}
        checker = Draft202012Validator.FORMAT_CHECKER
        validator = Draft202012Validator(schema, registry=self.registry, format_checker=checker)
        problems = [f"{e.json_path}: {e.message}" for e in validator.iter_errors(value)]
        assert not problems, (method, template, status, problems)
        self.judged.add((method, template, status))
