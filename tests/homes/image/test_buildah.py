"""Only a build that Linux would not let begin is begun again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.homes import buildah
from tests.homes.containers import BUILDAH

STAND_IN = """\
#!/bin/sh
echo "$@" >> tries
test "$(wc -l < tries)" -gt {fails} || {{ echo "Close_Fd {why}" >&2; {end}; }}
"""


@pytest.mark.parametrize(
    ("fails", "why", "end", "tries", "code"),
    [
        (0, buildah.UNSEALED, "exit 7", 1, 0),
        (2, buildah.UNSEALED, "exit 7", 3, 0),
        (99, buildah.UNSEALED, "exit 7", buildah.TRIES, 1),
        (99, "no space left on device", "exit 7", 1, 7),
        (99, "out of memory", "kill -9 $$", 1, 247),
    ],
    ids=["built", "built at last", "never", "another error", "killed"],
)
def test_a_build_is_begun_again_only_where_its_copy_could_not_be_sealed(
    tmp_path: Path, fails: int, why: str, end: str, *, tries: int, code: int
) -> None:
    program = tmp_path / "buildah"
    program.write_text(STAND_IN.format(fails=fails, why=why, end=end), encoding="utf-8")
    program.chmod(0o755)
    done = subprocess.run(
        [*BUILDAH, "--tag", "some:name", "."],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    calls = (tmp_path / "tries").read_text(encoding="utf-8").splitlines()
    assert calls == ["bud --isolation chroot --pull-never --tag some:name ."] * tries
    assert done.returncode == code
    assert done.stdout.count(why) == (0 if fails == 0 else min(fails, tries))
