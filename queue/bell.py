"""A file that changes whenever there may be something new to take: one number for each priority.

A hint only: a lost ring costs a moment, never an item, because everybody also looks by himself now and then.
The numbers are times in nanoseconds; only their change means something.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from .atomic import open_own
from .records import PRIORITIES

_SLOT = 8  # bytes of one number
LOWEST_PRIORITY = max(PRIORITIES.values())
DELAYED = LOWEST_PRIORITY + 1  # rung when there is a new item that is not due yet
ANYTHING = DELAYED + 1  # rung for all that gives nobody a new item to take


class Bell:
    """The bell of one queue. Opening it creates the file.

    Where something else has its name, there is none until that is moved away: then it seems to ring every second.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._descriptor: int | None = None
        self._own_rings = 0
        self._file: os.stat_result | None = None
        self.close: Callable[[], object] = bool
        with contextlib.suppress(FileExistsError):
            self._use(open_own(path, os.O_RDWR | os.O_CREAT))

    def _use(self, descriptor: int) -> None:
        self._descriptor, self._file = descriptor, os.fstat(descriptor)
        self.close = weakref.finalize(self, os.close, descriptor)  # also of a queue that nobody needs any more

    def fileno(self) -> int:
        """Return the open file. Raises OSError when there is none."""
        if self._descriptor is None:
            raise FileExistsError(errno.EEXIST, "is not the bell", self.path)
        return self._descriptor

    def is_current(self) -> bool:
        """Tell whether the file that is open still is the one of that name: who rings from now on opens that."""
        try:
            return self._file is not None and os.path.samestat(self._file, os.lstat(self.path))
        except OSError:
            return False

    def reopen(self) -> None:
        """Go over to the file that has the name now. None is made: somebody may be removing the whole queue."""
        try:
            descriptor = open_own(self.path, os.O_RDWR)
        except FileExistsError:
            self.close()
            self._descriptor = self._file = None
            raise
        if self._descriptor is None:
            self._use(descriptor)
            return
        try:
            os.dup2(descriptor, self._descriptor, inheritable=False)
            self._file = os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def ring(self, which: int = ANYTHING) -> None:
        """Say that something may be new at priority `which`, or of any other kind."""
        self._own_rings += 1
        if self._descriptor is not None:
            os.pwrite(self._descriptor, time.time_ns().to_bytes(_SLOT, "little"), which * _SLOT)

    def ring_all(self) -> None:
        """Say that anything may be new: nobody trusts an earlier listing afterwards."""
        if self._descriptor is not None:
            os.pwrite(self._descriptor, time.time_ns().to_bytes(_SLOT, "little") * (ANYTHING + 1), 0)

    def heard(self) -> bytes:
        """Return all the numbers; a later call that returns the same heard nothing since."""
        return self._read(ANYTHING + 1)

    def heard_of_items(self) -> bytes:
        """Return the numbers of the priorities and of the delayed items alone."""
        return self._read(DELAYED + 1)

    def _read(self, count: int) -> bytes:
        if self._descriptor is None:
            return (int(time.time()) + self._own_rings).to_bytes(_SLOT, "little") * count
        return os.pread(self._descriptor, _SLOT * count, 0)

    @staticmethod
    def number(heard: bytes, which: int) -> bytes:
        """Return one of the numbers that were heard."""
        return heard[which * _SLOT : (which + 1) * _SLOT]

    @staticmethod
    def changed(before: bytes, after: bytes) -> list[int]:
        """Return what rang between two calls of the same kind."""
        return [which for which in range(ANYTHING + 1) if Bell.number(before, which) != Bell.number(after, which)]
