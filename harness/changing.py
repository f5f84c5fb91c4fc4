"""A small file that several processes change, one after the other.

Guarantees: no change is lost to another at the same time (a lock that ends with its process); who reads sees the file
as it was after some change. Whoever only looks pays one `stat` as long as nothing has changed.

Assumes: losing the file loses nothing that cannot be found out again, so one that cannot be read counts as empty.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from ..queue import atomic
from .rereading import Watched

_PATIENCE_SECONDS = 2.0  # the lock is held for a moment, unless its holder was stopped
_LOOK_SECONDS = 0.005
_T = TypeVar("_T")


class Changed(Generic[_T]):
    """A file that holds a `kind` as JSON, as one process knows it; changed only under the lock beside it."""

    def __init__(self, path: Path, lock: Path, kind: type[_T]) -> None:
        self._file = Watched(path, kind)
        self._lock = lock
        self._is_locked = False

    def look(self) -> _T:
        """Return what the file holds, read again only when it is another one than before."""
        return self._file.look()

    def change(self, step: Callable[[_T], _T]) -> tuple[_T, _T]:
        """Replace what the file holds by what `step` makes of it; return both. Raises OSError."""
        with self.locked():
            before = self._file.read()
            after = step(before)
            if after != before:
                self._file.write(after)
        return before, after

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody else change it while the block runs, which may. Raises OSError when that cannot be had soon."""
        if self._is_locked:
            yield
            return
        descriptor = self._open()
        try:
            self._wait_for(descriptor)
            self._is_locked = True
            yield
        finally:
            self._is_locked = False
            os.close(descriptor)

    def _open(self) -> int:
        try:
            return atomic.open_own(self._lock, os.O_RDWR | os.O_CREAT)
        except FileExistsError:  # else nobody could write down a limit, and all would run into it for ever
            if not atomic.clear_the_way(self._lock):
                raise
            return atomic.open_own(self._lock, os.O_RDWR | os.O_CREAT)

    def _wait_for(self, descriptor: int) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    said = "is held by a process that does not go on; is one of yours stopped?"
                    raise OSError(errno.ETIMEDOUT, said, str(self._lock)) from None
                time.sleep(_LOOK_SECONDS)
