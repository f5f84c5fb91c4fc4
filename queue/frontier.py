"""How far the takers have come in each priority: spares each of them the links that it would lose to the others.

A hint only. It holds for the listings made after one ring of the bell, which it names: whoever offers an older
item rings, and takers that have heard that ring heed no frontier of before. Whoever finds nothing any more lists
again without it.
"""

from __future__ import annotations

import contextlib
import os
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path

from .atomic import open_own

_RING = 8  # bytes of the bell's number
_CHECK = 4  # bytes of the checksum: a reader may see half of a concurrent write
_NAME = 52  # bytes of a hint's name: its priority, its time and most of its id
_END = b"\x7f"  # after every character of a name
_SIZE = _RING + _CHECK + _NAME


class Frontier:
    """The frontier of one queue. Opening it creates the file; where something else has its name, one does without."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        self.close: Callable[[], object] = bool
        with contextlib.suppress(FileExistsError, PermissionError):
            self._descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
            self.close = weakref.finalize(self, os.close, self._descriptor)

    def read(self, priority: int, ring: bytes) -> str:
        """Return a text: all names of `priority` before it were claimed since `ring`; "" when none is known."""
        if self._descriptor is None:
            return ""
        data = os.pread(self._descriptor, _SIZE, priority * _SIZE)
        if data[:_RING] != ring or zlib.crc32(data[_RING + _CHECK :]).to_bytes(_CHECK) != data[_RING : _RING + _CHECK]:
            return ""
        return data[_RING + _CHECK :].rstrip(b"\0").decode(errors="replace")

    def advance(self, priority: int, ring: bytes, name: str) -> None:
        """Note that `name`, and all before it that was offered before `ring`, is claimed."""
        if self._descriptor is None:
            return
        # A name that is there as a whole is before the mark behind it; one that is cut is not before its own beginning.
        start = (name.encode() + _END)[:_NAME].ljust(_NAME, b"\0")
        os.pwrite(self._descriptor, ring + zlib.crc32(start).to_bytes(_CHECK) + start, priority * _SIZE)
