"""What a worker holds, noted where others find it when the worker is dead, without reading every chain.

A hint: the note is written before the claim is made and is not cleared when it ends, so that whoever finds the note
of a dead worker looks at the chains that it names. Its lock is free when the process has ended, as with markers.
"""

from __future__ import annotations

import fcntl
import os

from . import atomic
from .atomic import StrPath, Unreadable
from .hints import remove
from .ids import MAX_ID_LENGTH, is_id
from .layout import Layout

SUFFIX = ".held"
_LIMIT_BYTES = 1024 * 1024  # thousands of lines; a worker holds one item or a few
_BEGINNING = b"claim "
_LINE = MAX_ID_LENGTH + 34  # room for the id and any number that a chain can reach


class HeldNote:
    """The note of one taker, locked from before it has its name until the process ends."""

    def __init__(self, layout: Layout, worker: str) -> None:
        draft = atomic.write_private(layout.drafts, b"")
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = layout.workers / f"{worker}{SUFFIX}"
        try:
            atomic.link_once(draft, self.path)
        finally:
            remove(draft)
        self._lines: dict[tuple[str, int], int] = {}
        self._free: list[int] = []

    def __contains__(self, claim: tuple[str, int]) -> bool:
        return claim in self._lines

    def note(self, item_id: str, number: int) -> None:
        """Write down the claim that is about to be made."""
        index = self._free[-1] if self._free else len(self._lines)
        os.pwrite(self._descriptor, f"claim {item_id} {number}".ljust(_LINE - 1).encode() + b"\n", index * _LINE)
        if self._free:
            self._free.pop()
        self._lines[item_id, number] = index

    def drop(self, item_id: str, number: int) -> None:
        """Forget a claim that was not made or has ended, with all that follows from its end."""
        index = self._lines.pop((item_id, number), None)
        if index is not None:
            self._free.append(index)

    def close(self) -> None:
        """Let go of the note; it stays for others while claims are open."""
        if not self._lines:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


def read_note(path: StrPath) -> list[str]:
    """Return the ids of the items that a dead worker held or was about to take. Raises Unreadable.

    A line that a kill or a power cut left half written is passed over; a file of other lines is none of ours.
    """
    data = (atomic.read_file(path, _LIMIT_BYTES) or b"").rstrip(b"\0")
    ids: dict[str, None] = {}
    for start in range(0, len(data), _LINE):
        line = data[start : start + _LINE].lstrip(b"\0")
        if line[: len(_BEGINNING)] != _BEGINNING[: len(line)]:
            raise Unreadable(path, "is none of the queue's files")
        _, _, rest = line.decode("ascii", "replace").partition(" ")
        item_id, _, number = rest.rstrip(" \n").partition(" ")
        if is_id(item_id) and number.isdecimal():
            ids[item_id] = None
    return list(ids)
