"""The audit trail in a file that several processes may share."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from rotator.adapters.audit.chain import addition, new_chain_id
from rotator.adapters.audit.line import GENESIS
from rotator.adapters.audit.tail import NotATrailError, Tail, read_tail
from rotator.adapters.audit.turn import turn
from rotator.adapters.audit.unsettled import unsettled_intents
from rotator.errors import AuditUnavailable
from rotator.events import Event
from rotator.ports import Clock, UnsettledIntent

LOCK_TIMEOUT = 10.0
"""Seconds to wait for others who hold the file before a step is refused."""

_LOCK_POLL = 0.005
_SCAN_LIMIT = 64 * 1024 * 1024

_log = logging.getLogger(__name__)


class FileAuditTrail:
    """Appends events to a file and makes each durable before it returns.

    Every append takes the file's lock, reads how the file ends (another process may have
    written, or died while it wrote), writes in one call and asks the system to put it on the
    disk. What could only be written in part is taken back. A file that was renamed, removed or
    emptied is noticed by the next append, which begins a new chain that names the old one's
    head. Threads may share one trail.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        instance: str,
        clock: Clock,
        new_chain_id: Callable[[], str] = new_chain_id,
    ) -> None:
        """Open the file, or create it with mode 0600.

        Raises:
            AuditUnavailable: it cannot be opened, or is no regular file.
        """
        self._path = Path(path)
        self._instance = instance
        self._clock = clock
        self._new_chain_id = new_chain_id
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._known_head = GENESIS
        self._own_head: str | None = None
        with self._mutex:
            self._open()

    def append(self, event: Event) -> str:
        """Write one event durably and return the chain's new head (64 hex digits).

        Raises:
            AuditUnavailable: it could not be written; the step must not act.
        """
        with self._turn() as deadline, self._locked(deadline) as (fd, tail):
            added = addition(
                tail,
                event,
                fresh_chain=self._new_chain_id() if tail.chain is None else tail.chain,
                link=self._known_head,
                at=self._clock.now(),
                instance=self._instance,
            )
            self._write(fd, added.data)
            self._known_head = self._own_head = added.head
        if added.sealed is not None:
            _log.warning(
                "sealed a torn line of the audit trail",
                extra={"path": str(self._path), "torn_bytes": added.sealed.torn_bytes},
            )
        return added.head

    def head(self) -> str:
        """Return the digest of the line that this process wrote last, else of the file's last.

        64 zeros where there is none.

        Raises:
            AuditUnavailable: the file cannot be read.
        """
        with self._turn() as deadline:
            if self._own_head is not None:
                return self._own_head
            with self._locked(deadline) as (_, tail):
                return self._known_head if tail.head is None else tail.head

    def unsettled(self) -> tuple[UnsettledIntent, ...]:
        """Return the intents that no outcome followed, oldest first.

        Looked for in the last 64 MiB of the file as it is now, whoever wrote them: another
        process that shares the file may be at work on some.

        Raises:
            AuditUnavailable: the file cannot be read.
        """
        try:
            with self._turn() as deadline, self._locked(deadline) as (fd, _):
                size = os.fstat(fd).st_size
                reader = self._path.open("rb")
            with reader as file:
                return unsettled_intents(file, start=max(0, size - _SCAN_LIMIT), end=size)
        except OSError as error:
            raise self._unavailable("read", error) from None

    def reopen(self) -> None:
        """Open the path again, as after SIGHUP, and remember the head of the file that was open.

        Raises:
            AuditUnavailable: it cannot be opened; later appends try again.
        """
        with self._turn() as deadline:
            if self._fd is not None:
                with suppress(AuditUnavailable, OSError), self._flock(self._fd, deadline):
                    self._remember(self._fd)
            self._open()

    def close(self) -> None:
        """Close the file, unless a thread still waits for it; a later append opens it again."""
        with suppress(AuditUnavailable), self._turn():
            self._close()

    # --- the file, under the mutex ---------------------------------------------------------------

    def _turn(self) -> AbstractContextManager[float]:
        """Hold the mutex, and give the time until which the file may be waited for."""
        reason = f"other threads have waited for it for {LOCK_TIMEOUT:.0f} s"
        refusal = f"audit trail {self._path}: {reason}"
        return turn(self._mutex, self._clock, LOCK_TIMEOUT, refusal)

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[tuple[int, Tail]]:
        """Hold the lock of the file that stands at the path now, and give its end."""
        while True:
            fd = self._open() if self._fd is None else self._fd
            with self._flock(fd, deadline):
                if self._is_current(fd):
                    yield fd, self._tail(fd)
                    return
                # Whoever wrote to the old file did so before this lock, so its end is final.
                self._remember(fd)
            self._close()

    @contextmanager
    def _flock(self, fd: int, deadline: float) -> Iterator[None]:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if self._clock.monotonic() >= deadline:
                    reason = f"another process has held its lock for {LOCK_TIMEOUT:.0f} s"
                    raise AuditUnavailable(f"audit trail {self._path}: {reason}") from None
                self._clock.sleep(_LOCK_POLL)
            except OSError as error:
                raise self._unavailable("lock", error) from None
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)

    def _is_current(self, fd: int) -> bool:
        ours = os.fstat(fd)
        try:
            there = self._path.stat()
        except OSError:
            return False
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    def _tail(self, fd: int) -> Tail:
        try:
            return read_tail(fd, os.fstat(fd).st_size)
        except OSError as error:
            raise self._unavailable("read", error) from None
        except NotATrailError:
            raise AuditUnavailable(
                f"audit trail {self._path}: holds something else than an audit trail"
            ) from None

    def _remember(self, fd: int) -> None:
        """Keep the head of a file that is left, so that the next one can name it."""
        self._known_head = self._tail(fd).head or self._known_head

    def _open(self) -> int:
        self._close()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        try:
            fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise self._unavailable("open", error) from None
        self._fd = fd
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            self._close()
            hint = 'is not a regular file (for standard output set path = "-")'
            raise AuditUnavailable(f"audit trail {self._path}: {hint}")
        if found.st_size == 0:
            try:
                self._sync_folder()
            except OSError as error:
                self._close()
                raise self._unavailable("open", error) from None
        return fd

    def _close(self) -> None:
        if self._fd is not None:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = None

    def _sync_folder(self) -> None:
        """Make the new file's name durable; without it a crash could lose the whole file."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _write(self, fd: int, data: bytes) -> None:
        size = os.fstat(fd).st_size
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fsync(fd)
        except OSError as error:
            # Where even this fails, the next append finds a torn line and seals it.
            with suppress(OSError):
                os.ftruncate(fd, size)
                os.fsync(fd)
            raise self._unavailable("write", error) from None

    def _unavailable(self, what: str, error: OSError) -> AuditUnavailable:
        return AuditUnavailable(
            f"audit trail {self._path}: cannot {what} it: {error.strerror or type(error).__name__}"
        )
