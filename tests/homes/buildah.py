"""Builds an image: ``python buildah.py [OPTION...] FOLDER``, with the options of ``buildah bud``.

Each step of a build begins with buildah copying itself into memory and sealing the copy. Linux
refuses the seal while it holds one of the copy's pages for itself, as when it looks for memory
to reclaim; that was so in two of some five hundred steps, and is over a moment later. Such a
build is begun again, and no other.
"""

from __future__ import annotations

import subprocess
import sys

BUILD = ("buildah", "bud", "--isolation", "chroot", "--pull-never")
UNSEALED = "sealing memfd copy: Device or resource busy"
TRIES = 5


def build(words: list[str]) -> tuple[int, bool]:
    """Build once, writing what buildah writes; return its exit code, and whether a seal failed."""
    unsealed = False
    with subprocess.Popen(
        [*BUILD, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            unsealed = unsealed or UNSEALED in line
            sys.stdout.write(line)
            sys.stdout.flush()
    return process.returncode, unsealed


def main(words: list[str]) -> int:
    """Build until it was not for want of a seal that it failed."""
    for _ in range(TRIES):
        code, unsealed = build(words)
        if not (code and unsealed):
            return code
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
