"""A look at the whole queue: every item with its state, for status and lists.

A survey is kept and refreshed; only what is new since the last look is read again, since items and
records never change.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import get_args

from .atomic import Unreadable
from .hints import list_names
from .layout import parse_name
from .records import Entry, State
from .states import state_of
from .store import Queue

STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Damage:
    """A file in the queue that is not ours or cannot be read; it is left where it is."""

    path: str
    problem: str


class Survey:
    """All items of a queue as of the last `refresh`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._entries: dict[str, Entry] = {}
        self._now = queue.now()
        self.damage: list[Damage] = []

    def refresh(self) -> None:
        """Read what is new."""
        self.damage = []
        self._now = self._queue.now()
        for item_id, length in self._lengths().items():
            known = self._entries.get(item_id)
            if known is not None and len(known.records) >= length:
                continue
            try:
                entry = self._read(item_id, known)
            except Unreadable as error:
                self.damage.append(Damage(str(error.path), error.problem))
                continue
            if entry is not None:
                self._entries[item_id] = entry

    def _read(self, item_id: str, known: Entry | None) -> Entry | None:
        chain = self._queue.chain
        if known is None:
            return chain.read(item_id)
        return Entry(known.item, chain.read_records(item_id, known.records))

    def _lengths(self) -> dict[str, int]:
        """Return how many records each item has, from the names alone."""
        layout = self._queue.layout
        lengths: dict[str, int] = {}
        items: set[str] = set()
        for folder in list_names(layout.items):
            for name in list_names(layout.items / folder):
                parsed = parse_name(name)
                if parsed is None:
                    self.damage.append(Damage(str(layout.items / folder / name), "is none of the queue's files"))
                elif parsed[1] is None:
                    items.add(parsed[0])
                    lengths.setdefault(parsed[0], 0)
                else:
                    lengths[parsed[0]] = max(parsed[1], lengths.get(parsed[0], 0))
        return {item_id: length for item_id, length in lengths.items() if item_id in items}

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
