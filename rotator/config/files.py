"""Reading a file that somebody else wrote: never for ever, and never without bound."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

SECRET = 64 * 1024
"""Bytes that a file with one secret may have."""


def read_regular(path: Path, most: int) -> bytes:
    """Return a file's content.

    A pipe without a writer would hold the program up and a device such as ``/dev/zero`` fill
    its memory, so only a regular file is read (a symbolic link to one is followed).

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        OSError: it is no regular file, is longer, or cannot be read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 - a descriptor has no path
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is a pipe or a device: name a regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"is longer than {most} bytes")
    return content


def read_secret(path: Path) -> bytes:
    """Return the content of a file that holds one secret.

    Raises:
        OSError: as `read_regular`.
    """
    return read_regular(path, SECRET)
