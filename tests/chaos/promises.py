"""What has to be true when a chaos run is over, each as a function that returns what is not."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.chaos.stage import Stage
from tests.end_to_end.bench import Running, eventually, verified
from tests.end_to_end.echoing import forms


def trails(stage: Stage) -> list[Path]:
    """The audit files of all incarnations."""
    found = [place.audit for place in stage.places.values()]
    return [file for file in found if file.exists()]


def events(stage: Stage) -> Iterator[dict[str, Any]]:
    """Every whole line of all audit files."""
    for file in trails(stage):
        for line in file.read_bytes().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # Torn by a kill; that it is sealed is for `audit verify` to say.
            yield event


def settle(stage: Stage, within: float) -> list[str]:
    """Run a daemon in each place until all is at rest and every intent has its outcome."""
    for place in stage.places.values():
        place.target_more = ""  # keys that expire would be due again in the middle of it
        place.configure(every='"1h"')
    problems: list[str] = []
    for name, place in stage.places.items():
        daemon = place.start("run")
        if not problems:
            problems += stage.rest(within, daemon)
        problems += _closed(name, place.audit, daemon, within)
        done = daemon.stop()
        if done.code != 0:
            problems.append(f"the last daemon of {name} ended with {done.code}: {done.err[-1000:]}")
    return problems


def _closed(name: str, file: Path, daemon: Running, within: float) -> list[str]:
    def still_open() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = verified([file]).json["open"]
        return found

    eventually(lambda: "started" in daemon.err or not daemon.alive(), "the daemon's start")
    try:
        eventually(lambda: not still_open(), "an outcome for every intent", within, pause=1.0)
    except AssertionError:
        return [f"{name}: open: {each['op']} {each['event']}" for each in still_open()]
    return []


def audit_holds(stage: Stage) -> tuple[list[str], int]:
    """What `audit verify` says of all files together, with the ledgers' heads; and their lines."""
    heads = {stage.ledger(target).get("audit_head") for target in stage.targets}
    done = verified(trails(stage), sorted(filter(None, heads)))
    if done.code == 2:
        return [f"audit verify: {done.err}"], 0
    said = done.json
    problems = [f"audit: {each}" for each in said["problems"]]
    problems += [f"audit: open: {each}" for each in said["open"]]
    if done.code != 0 and not problems:
        problems.append(f"audit verify ended with {done.code}: {done.err}")
    return problems, said["lines"]


def mints_accounted_for(stage: Stage) -> tuple[list[str], Counter[str]]:
    """Every key that was ever made is served or deleted, and the audit trail tells of it."""
    served = {stage.served(target) for target in stage.targets}
    told: dict[str, set[str]] = {}
    asked: set[str] = set()
    for event in events(stage):
        if event["event"] == "key.create" and event["phase"] == "intent":
            asked.add(event["key_name"])
        if event["phase"] == "outcome" and event["key_hash"]:
            told.setdefault(event["key_hash"], set()).add(event["event"])
    problems: list[str] = []
    count: Counter[str] = Counter()
    for key in stage.sandbox.all_keys():
        state = "served" if key.hash in served else "deleted" if key.deleted else "left"
        count[state] += 1
        if state == "left" or (state == "served" and not key.usable):
            problems.append(f"{key.name} {key.hash[:12]}: {state}, disabled: {key.disabled}")
        if key.name not in asked:
            problems.append(f"{key.name} {key.hash[:12]}: no intent in the audit trail")
        if key.hash not in told:
            problems.append(f"{key.name} {key.hash[:12]}: no outcome in the audit trail")
        elif state == "deleted" and not told[key.hash] & {"key.delete", "step.settled"}:
            problems.append(f"{key.name} {key.hash[:12]}: its end is not in the audit trail")
    return problems, count


def rotations(stage: Stage) -> int:
    """How many publishes the audit trail tells of, by whoever acted or settled them."""
    done = {
        event["op"]
        for event in events(stage)
        if event["op"].endswith("/publish") and event["result"] in ("done", "found")
    }
    return len(done)


def secrets_in_files(stage: Stage) -> tuple[list[str], int]:
    """The files in which any run of characters of any secret stands; and how many secrets."""
    known = set(stage.given)
    for ears in stage.ears.values():
        known |= ears.secrets
    (stage.folder / "ledgers.json").write_text(
        json.dumps({target: stage.ledger(target) for target in stage.targets}, indent=1),
        encoding="utf-8",
    )
    return found_in(stage.folder, known), len(known)


def found_in(folder: Path, secrets: Iterable[str]) -> list[str]:
    """The files below a folder in which a run of characters of a secret stands, by grep."""
    runs = sorted({run for secret in secrets for run in forms(secret)})
    done = subprocess.run(
        ["grep", "--recursive", "--text", "--fixed-strings", "--count", "--file=-", str(folder)],
        input="\n".join(runs) + "\n",
        capture_output=True,
        text=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    if done.returncode not in (0, 1):
        return [f"the search failed: {done.stderr[:1000]}"]
    counted = (line.rpartition(":") for line in done.stdout.splitlines())
    return [f"a secret in {name}: {count} lines" for name, _, count in counted if count != "0"]
