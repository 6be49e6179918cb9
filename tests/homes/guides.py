"""Runs the commands of an installation guide, block by block, as somebody would who follows it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.homes import containers

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[str]:
    """Return the blocks of commands of a page in `docs/`, in their order."""
    text = (containers.ROOT / "docs" / page).read_text(encoding="utf-8")
    return BLOCK.findall(text)


def programs_beside(environment: Mapping[str, str], *folders: Path) -> dict[str, str]:
    """Return an environment that finds programs in some folders before all others."""
    path = ":".join(str(folder) for folder in folders)
    return {**environment, "PATH": f"{path}:{environment['PATH']}"}


@dataclass(frozen=True, slots=True)
class Follower:
    """Somebody at a shell who follows a guide.

    Attributes:
        folder: where the commands are given.
        environment: the shell's.
    """

    folder: Path
    environment: Mapping[str, str]

    def do(self, block: str) -> str:
        """Give the commands of a block; return all that they wrote, and fail where one fails."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=dict(self.environment),
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}"
        return done.stdout

    def do_all(self, given: Iterator[str], until: str) -> dict[str, str]:
        """Give the next blocks up to the first that has a text in it, and that one too.

        Returns what each wrote, by the block.
        """
        written = {}
        for block in given:
            written[block] = self.do(block)
            if until in block:
                return written
        raise AssertionError(f"the guide has no {until!r} where it is expected")
