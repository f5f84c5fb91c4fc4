"""One coordinator per repository: a lock held for life.

Guarantees: the lock ends with its process, however that ends; nobody has to remove anything. The file
says who holds it, and it is never unlinked (a second holder could then lock a file that has no name).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

import msgspec

from ..queue import atomic
from ..queue.clock import utc_now
from .drawing.moments import date_and_clock

_TRIES = 20  # a reader that looks whether the lock is held holds it itself for a moment
_PAUSE_SECONDS = 0.02


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock, and what it was started with: `restart` does the same again."""

    pid: int
    process_start: float
    boot: str
    started_at: str
    agents: int | None = None  # None: as many as the configuration says
    drain: bool = False


class AlreadyRunning(Exception):
    """Another coordinator runs in this repository."""

    def __init__(self, holder: Holder | None) -> None:
        who = f"pid {holder.pid}, since {date_and_clock(holder.started_at)}" if holder else "its pid is not known yet"
        super().__init__(
            f"another coordinator runs in this repository ({who}); "
            "see `parallel-loop status`, or end that one with `parallel-loop stop`"
        )
        self.holder = holder


class StateGone(Exception):
    """The state directory was removed while a coordinator ran on it."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} was removed or replaced during the run, and the queue with it; everything was stopped. "
            "What had been committed is on its branches; add the items again"
        )


class CoordinatorLock:
    """The lock, taken. Raises AlreadyRunning."""

    def __init__(
        self, path: Path, pid: int, process_start: float, boot: str, *, agents: int | None = None, drain: bool = False
    ) -> None:
        self._path = path
        self._descriptor = atomic.open_own(path, os.O_RDWR | os.O_CREAT)
        self.holder = Holder(pid, process_start, boot, utc_now(), agents, drain)
        if not self._take():
            os.close(self._descriptor)
            raise AlreadyRunning(read_holder(path))
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, msgspec.json.encode(self.holder) + b"\n", 0)

    def _take(self) -> bool:
        for _ in range(_TRIES):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE_SECONDS)
            else:
                return True
        return False

    def check(self) -> None:
        """Raise StateGone when the file that we hold is not the one at its path any more."""
        try:
            there, held = self._path.lstat(), os.fstat(self._descriptor)
            if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                return
        except FileNotFoundError:
            pass
        raise StateGone(self._path.parent)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # on a disk that became read-only; who finds it free reads no further
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def read_holder(path: Path) -> Holder | None:
    """Return who holds the lock now, None when nobody does."""
    try:
        descriptor = atomic.open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _decode(os.pread(descriptor, 4096, 0))
    finally:
        os.close(descriptor)
    return None


def read_last_holder(path: Path) -> Holder | None:
    """Return who holds the lock, or held it when it was killed; None when the last one ended by itself."""
    try:
        return _decode(atomic.read_file(path) or b"")
    except atomic.Unreadable:
        return None


def _decode(data: bytes) -> Holder | None:
    try:
        return msgspec.json.decode(data, type=Holder)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
