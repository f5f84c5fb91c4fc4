"""Advisory locks on files, freed by the kernel when the last process that has them ends.

Guarantees: a lock is never left behind by a kill; a lock file is never unlinked, because a process that waits on the
unlinked file and one that makes a new file of the same name would both believe they hold it.

Assumes: a local file system, where flock(2) is between processes of this host only.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_BELIEVED_SECONDS = 60.0
_PAUSE_SECONDS = 0.01  # flock has no time-out of its own; a hundred looks a second cost nothing measurable


class LockTimeout(Exception):
    """Somebody else kept a lock for longer than we were willing to wait."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__(
            f"{path} is still locked after {timeout_seconds:g} s by a process that has not ended; "
            f"`fuser {path}` names it"
        )
        self.path = path


@contextmanager
def hold(
    path: Path,
    *,
    shared: bool = False,
    timeout_seconds: float = 600,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Hold the lock on `path` (made if missing) and yield its descriptor.

    A process that inherits the descriptor holds the lock too until it ends. Raises LockTimeout.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _wait(descriptor, path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout_seconds, pause)
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, kind: int, timeout_seconds: float, pause: Callable[[float], None]) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockTimeout(path, timeout_seconds) from None
            pause(_PAUSE_SECONDS)
        else:
            return


def is_held_open(path: Path) -> bool:
    """Whether a process of ours has the file open: git has its lock of the index open until it has written it.

    Without /proc nobody can be asked, so that somebody has it is believed of a file that is younger than a minute.
    """
    try:
        status = path.stat()
    except OSError:
        return False
    if not Path("/proc/self/fd").is_dir():
        return time.time() - status.st_mtime < _BELIEVED_SECONDS
    for process in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 (names are all that is wanted)
        with suppress(OSError), os.scandir(f"/proc/{process}/fd") as descriptors:
            for descriptor in descriptors:
                with suppress(OSError):
                    found = descriptor.stat()
                    if (found.st_ino, found.st_dev) == (status.st_ino, status.st_dev):
                        return True
    return False
