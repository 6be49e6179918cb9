"""`rotator sandbox`: what it prints is all that one needs to try everything."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path


def test_its_snippet_and_variables_are_enough_to_rotate_a_key(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("rotator")
    served = subprocess.Popen(
        [program, "sandbox"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert served.stdout is not None
        assert served.stderr is not None
        assert "Serving" in served.stderr.readline()
        lines = []
        for line in served.stdout:
            lines.append(line)
            if line.startswith("field = "):
                break
        printed = "".join(lines)
        environment = dict(re.findall(r"^export (\w+)=(\S+)$", printed, re.MULTILINE))
        config = tmp_path / "sandbox.toml"
        text = printed[printed.index("# Save as") :]
        config.write_text(text)
        for words in (["check"], ["run", "--once"], ["rotate", "billing-api"]):
            done = subprocess.run(
                [program, "--config", config, *words],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert " -> " in done.stdout
    finally:
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=30)
    assert served.returncode == 0


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("rotator")
    first = subprocess.Popen(
        [program, "sandbox"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None
        found = re.search(r":(\d+)/", first.stdout.readline())
        assert found is not None
        second = subprocess.run(
            [program, "sandbox", "--openrouter-port", found.group(1)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert second.returncode == 1
        port = found.group(1)
        assert second.stderr == f"rotator: cannot listen on port {port}: Address already in use\n"
    finally:
        first.terminate()
        first.communicate(timeout=30)
