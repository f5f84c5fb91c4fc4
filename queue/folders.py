"""One directory of ``items/`` as a survey knows it: which items are in it, and how long their chains are."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from .atomic import unordered_names
from .layout import parse_name

NOT_OURS = "is none of the queue's files"
MOST_NAMED = 20  # in one directory; of the others only the number is told
_SETTLED_NANOSECONDS = 1_000_000_000


class Damage(NamedTuple):
    """A file in the queue that is not ours or cannot be read; it is left where it is. `item` is whose it should be."""

    path: str
    problem: str
    item: str | None = None


def in_short(folder: str, damage: list[Damage]) -> list[Damage]:
    """Return the first ones that were found in `folder`, and how many there are more."""
    more = len(damage) - MOST_NAMED
    if more <= 0:
        return damage
    return [*damage[:MOST_NAMED], Damage(folder, f"holds {more} more files that are none of the queue's")]


class Folder:
    """A directory as of its last listing. `lengths` tells the number of the last record of each item in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lengths: dict[str, int] = {}
        self.touched: set[str] = set()  # those with records
        self.orphans: set[str] = set()  # of whom there are records, but no item
        self.foreign: list[str] = []
        self._changed_at: int | None = None

    def list_again(self) -> bool:
        """Read the names again; False when nothing can have changed since the last time."""
        changed_at = _settled_change_time(self.path)
        if changed_at is not None and changed_at == self._changed_at:
            return False
        self._changed_at = changed_at
        names = unordered_names(self.path)
        lengths = dict.fromkeys([name[:-5] for name in names if name.endswith(".json")], 0)
        records: dict[str, int] = {}
        self.foreign = []
        for name in [name for name in names if not name.endswith(".json")] if len(names) > len(lengths) else ():
            parsed = parse_name(name)
            if parsed is None or (parsed[1] is not None and not name.isascii()):
                self.foreign.append(name)
            elif parsed[1] is not None:
                records[parsed[0]] = max(parsed[1], records.get(parsed[0], 0))
        self.foreign.sort()
        self.orphans = records.keys() - lengths.keys()
        lengths.update((item_id, length) for item_id, length in records.items() if item_id in lengths)
        self.lengths = lengths
        self.touched = records.keys() & lengths.keys()
        return True

    def damage(self) -> list[Damage]:
        """Return what is not ours."""
        return in_short(self.path, [Damage(f"{self.path}/{name}", NOT_OURS) for name in self.foreign])

    def forget(self) -> None:
        """List again at the next look: what cannot be read now may be mended in place."""
        self._changed_at = None


def _settled_change_time(folder: str) -> int | None:
    """Return when `folder` changed last, in nanoseconds; None when it may change again at the same time.

    The file system's clock ticks every few milliseconds, so a change right after a listing can leave the
    time as it was; one that is a second old cannot be repeated.
    """
    try:
        changed_at = os.lstat(folder).st_mtime_ns
    except OSError:
        return None
    return changed_at if time.time_ns() - changed_at > _SETTLED_NANOSECONDS else None
