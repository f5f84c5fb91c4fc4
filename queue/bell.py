"""A file that changes whenever there may be something new to take: one number for each priority.

A hint only: a lost ring costs a moment, never an item, because everybody also looks by himself now and then.
The numbers are times in nanoseconds; only their change means something.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from .records import PRIORITIES

_SLOT = 8  # bytes of one number
ANYTHING = max(PRIORITIES.values()) + 1  # rung for all that is not a new ready item
_SIZE = _SLOT * (ANYTHING + 1)


class Bell:
    """The bell of one queue. Opening it creates the file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def ring(self, which: int = ANYTHING) -> None:
        """Say that something may be new at priority `which`, or of any other kind."""
        os.pwrite(self._descriptor, time.time_ns().to_bytes(_SLOT, "little"), which * _SLOT)

    def heard(self) -> bytes:
        """Return all the numbers; a later call that returns the same heard nothing since."""
        return os.pread(self._descriptor, _SIZE, 0)

    @staticmethod
    def changed(before: bytes, after: bytes) -> list[int]:
        """Return the priorities that rang between two calls of `heard`."""
        return [
            which
            for which in range(ANYTHING)
            if before[which * _SLOT : (which + 1) * _SLOT] != after[which * _SLOT : (which + 1) * _SLOT]
        ]

    def close(self) -> None:
        os.close(self._descriptor)
