"""WIP limits: a role with ``wip: 3`` has three places, and a place is a file lock.

Guarantees: never more claims of a role are open than its limit, under any race, and no place stays
taken by a dead worker once its claim was taken back. The lock ends with its process; the name of the
claim, written into the file before the claim is made, keeps the place taken until the claim is closed. Whose
claim is written there, too: who is killed before making it leaves the item to another, who has another place.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from .atomic import open_own
from .ids import is_id

IsClaimOpen = Callable[[str, int, str], bool]  # item, number, and by whom it would have to be ("": anybody)
_MOST_FOREIGN = 100  # files with the names of places; were wip/ itself something else, it would be all


class Place:
    """One of a role's places, held by this process until `leave`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def occupy(self, item_id: str, number: int, owner: str) -> None:
        """Write down the claim that `owner` is about to make."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{item_id} {number} {owner}\n".encode(), 0)

    def leave(self) -> None:
        """Give the place up: the claim is closed, or was not made."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Give up only the lock: the place stays taken until the claim is taken back, as after a kill."""
        os.close(self._descriptor)


def enter(folder: Path, role: str, limit: int, is_claim_open: IsClaimOpen) -> Place | None:
    """Take a free place of `role`, or return None when all `limit` of them are taken.

    Where something else has a place's name, everybody takes the next name instead. Raises FileExistsError when it
    has nearly all.
    """
    foreign = index = 0
    while index - foreign < limit:
        index += 1
        try:
            descriptor = open_own(folder / f"{role}.{index}", os.O_RDWR | os.O_CREAT)
        except (FileExistsError, PermissionError):
            foreign += 1
            if foreign > _MOST_FOREIGN:
                raise
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        if not _still_occupied(descriptor, is_claim_open):
            return Place(descriptor)
        os.close(descriptor)
    return None


def _still_occupied(descriptor: int, is_claim_open: IsClaimOpen) -> bool:
    """A place whose holder died belongs to its claim until that is taken back."""
    item_id, _, claim = os.pread(descriptor, 4096, 0).decode(errors="replace").strip().partition(" ")
    number, _, owner = claim.partition(" ")
    return is_id(item_id) and number.isdecimal() and is_claim_open(item_id, int(number), owner)
