"""A file that changes whenever there may be something new to take: one number for each priority.

A hint only: a lost ring costs a moment, never an item, because everybody also looks by himself now and then.
The numbers are times in nanoseconds; only their change means something.
"""

from __future__ import annotations

import os
import time
import weakref
from pathlib import Path

from .atomic import open_own
from .records import PRIORITIES

_SLOT = 8  # bytes of one number
LOWEST_PRIORITY = max(PRIORITIES.values())
DELAYED = LOWEST_PRIORITY + 1  # rung when there is a new item that is not due yet
ANYTHING = DELAYED + 1  # rung for all that gives nobody a new item to take
_SIZE = _SLOT * (ANYTHING + 1)


class Bell:
    """The bell of one queue. Opening it creates the file; raises FileExistsError when something else has its name."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        self._file = os.fstat(self._descriptor)
        self.close = weakref.finalize(self, os.close, self._descriptor)  # also of a queue that nobody needs any more

    def fileno(self) -> int:
        return self._descriptor

    def is_current(self) -> bool:
        """Tell whether the file that is open still is the one of that name: who rings from now on opens that."""
        try:
            return os.path.samestat(self._file, os.lstat(self.path))
        except OSError:
            return False

    def reopen(self) -> None:
        """Go over to the file that has the name now. None is made: somebody may be removing the whole queue."""
        descriptor = open_own(self.path, os.O_RDWR)
        try:
            os.dup2(descriptor, self._descriptor, inheritable=False)
            self._file = os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def ring(self, which: int = ANYTHING) -> None:
        """Say that something may be new at priority `which`, or of any other kind."""
        os.pwrite(self._descriptor, time.time_ns().to_bytes(_SLOT, "little"), which * _SLOT)

    def ring_all(self) -> None:
        """Say that anything may be new: nobody trusts an earlier listing afterwards."""
        os.pwrite(self._descriptor, time.time_ns().to_bytes(_SLOT, "little") * (ANYTHING + 1), 0)

    def heard(self) -> bytes:
        """Return all the numbers; a later call that returns the same heard nothing since."""
        return os.pread(self._descriptor, _SIZE, 0)

    def heard_of_items(self) -> bytes:
        """Return the numbers of the priorities and of the delayed items alone."""
        return os.pread(self._descriptor, _SLOT * (DELAYED + 1), 0)

    @staticmethod
    def number(heard: bytes, which: int) -> bytes:
        """Return one of the numbers that were heard."""
        return heard[which * _SLOT : (which + 1) * _SLOT]

    @staticmethod
    def changed(before: bytes, after: bytes) -> list[int]:
        """Return what rang between two calls of the same kind."""
        return [which for which in range(ANYTHING + 1) if Bell.number(before, which) != Bell.number(after, which)]
