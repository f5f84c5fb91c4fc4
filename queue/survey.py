"""A look at the whole queue: every item with its state, for status and lists.

A survey is kept and refreshed; only what is new since the last look is read again, since items and
records never change.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import get_args

from .atomic import Unreadable
from .hints import list_names
from .layout import parse_name
from .records import Entry, State
from .states import state_of
from .store import Queue

_SETTLED_NANOSECONDS = 1_000_000_000
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Damage:
    """A file in the queue that is not ours or cannot be read; it is left where it is."""

    path: str
    problem: str


class _Folder:
    """One directory of ``items/`` as it was when it was last listed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lengths: dict[str, int] = {}
        self.damage: list[Damage] = []
        self._changed_at: int | None = None

    def list_again(self) -> bool:
        """Read the names again; False when nothing can have changed since the last time."""
        changed_at = _settled_change_time(self.path)
        if changed_at is not None and changed_at == self._changed_at and not self.damage:
            return False
        self._changed_at = changed_at
        self.damage = []
        items: set[str] = set()
        lengths: dict[str, int] = {}
        for name in list_names(self.path):
            parsed = parse_name(name)
            if parsed is None:
                self.damage.append(Damage(f"{self.path}/{name}", "is none of the queue's files"))
            elif parsed[1] is None:
                items.add(parsed[0])
            else:
                lengths[parsed[0]] = max(parsed[1], lengths.get(parsed[0], 0))
        self.lengths = {item_id: lengths.get(item_id, 0) for item_id in items}
        return True


def _settled_change_time(folder: str) -> int | None:
    """Return when `folder` changed last, in nanoseconds; None when it may change again at the same time.

    The file system's clock ticks every few milliseconds, so a change right after a listing can leave the
    time as it was; one that is a second old cannot be repeated.
    """
    try:
        changed_at = os.stat(folder).st_mtime_ns  # noqa: PTH116 (text, see Layout)
    except OSError:
        return None
    return changed_at if time.time_ns() - changed_at > _SETTLED_NANOSECONDS else None


class Survey:
    """All items of a queue as of the last `refresh`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._folders: dict[str, _Folder] = {}
        self._entries: dict[str, Entry] = {}
        self._now = queue.now()
        self.damage: list[Damage] = []

    def refresh(self) -> None:
        """Read what is new."""
        self._now = self._queue.now()
        items = str(self._queue.layout.items)
        for name in list_names(items):
            folder = self._folders.setdefault(name, _Folder(f"{items}/{name}"))
            if folder.list_again():
                self._read_new(folder)
        self.damage = [damage for folder in self._folders.values() for damage in folder.damage]

    def _read_new(self, folder: _Folder) -> None:
        for item_id, length in folder.lengths.items():
            known = self._entries.get(item_id)
            if known is not None and len(known.records) >= length:
                continue
            try:
                entry = self._read(item_id, known)
            except Unreadable as error:
                folder.damage.append(Damage(str(error.path), error.problem))
                continue
            if entry is not None:
                self._entries[item_id] = entry

    def _read(self, item_id: str, known: Entry | None) -> Entry | None:
        chain = self._queue.chain
        if known is None:
            return chain.read(item_id)
        return Entry(known.item, chain.read_records(item_id, known.records))

    def entries(self) -> list[Entry]:
        """Return all items in the order of adding."""
        return sorted(self._entries.values(), key=lambda entry: (entry.item.added_at, entry.item.id))

    def get(self, item_id: str) -> Entry | None:
        return self._entries.get(item_id)

    def is_done(self, item_id: str) -> bool:
        entry = self._entries.get(item_id)
        return entry is not None and entry.last is not None and entry.last.kind == "done"

    def state(self, entry: Entry) -> State:
        return state_of(entry, self.is_done, self._now)

    def counts(self) -> dict[State, int]:
        """Return how many items are in each state; every state is a key."""
        found = Counter(self.state(entry) for entry in self._entries.values())
        return {state: found[state] for state in STATES}

    def is_drained(self) -> bool:
        """True when nothing is takable, delayed, in work or landing: only a person can make a difference now."""
        counts = self.counts()
        return not any(counts[state] for state in ("ready", "delayed", "working", "landing"))
