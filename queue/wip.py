"""WIP limits: a role with ``wip: 3`` has three places, and a place is a file lock.

Guarantees: never more claims of a role are open than its limit, under any race, and no place stays
taken by a dead worker once its claim was taken back. The lock ends with its process; the name of the
claim, written into the file before the claim is made, keeps the place taken until the claim is closed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


class Place:
    """One of a role's places, held by this process until `leave`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def occupy(self, item_id: str, number: int) -> None:
        """Write down the claim that is about to be made."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{item_id} {number}\n".encode(), 0)

    def leave(self) -> None:
        """Give the place up: the claim is closed, or was not made."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Give up only the lock: the place stays taken until the claim is taken back, as after a kill."""
        os.close(self._descriptor)


def enter(folder: Path, role: str, limit: int, is_claim_open: Callable[[str, int], bool]) -> Place | None:
    """Take a free place of `role`, or return None when all `limit` of them are taken."""
    for index in range(1, limit + 1):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(folder / f"{role}.{index}", flags, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        if not _still_occupied(descriptor, is_claim_open):
            return Place(descriptor)
        os.close(descriptor)
    return None


def _still_occupied(descriptor: int, is_claim_open: Callable[[str, int], bool]) -> bool:
    """A place whose holder died belongs to its claim until that is taken back."""
    item_id, _, number = os.pread(descriptor, 4096, 0).decode(errors="replace").strip().partition(" ")
    return bool(item_id) and number.isdigit() and is_claim_open(item_id, int(number))
