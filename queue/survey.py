"""A look at the whole queue: how many items are in which state, and those that matter by themselves.

A survey is kept and refreshed; only what is new since the last look is read again, since items and records never
change. It stays small: of an item that nobody has touched yet it keeps the id alone, of one that is done little more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from .atomic import Unreadable, own_names
from .folders import NOT_OURS, Damage, Folder
from .foreign import Foreign
from .ids import is_id
from .layout import shard
from .packs import entries_in
from .ready import untouched_ready
from .records import Entry, State
from .states import state_of
from .store import Queue
from .tally import Tally

STATES: tuple[State, ...] = get_args(State)


class Survey:
    """All items of a queue as of the last `refresh`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._folders: dict[str, Folder] = {}
        self._entries: dict[str, Entry] = {}  # neither untouched nor done
        self._untouched: set[str] = set()  # takable, and nobody has ever taken it
        self._unreadable: dict[str, Damage] = {}  # by item
        self._done_elsewhere: set[str] = set()
        self._ready: set[str] | None = None  # as of this look, once it was needed
        self._foreign = Foreign(queue.layout)
        self._found: list[Damage] = []  # foreign files and damaged packs
        self._now = queue.now()
        self.done = Tally()

    # --- looking --------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read what is new."""
        self._now = self._queue.now()
        items = str(self._queue.layout.items)
        self._ready = None
        self._found = self._foreign.look()
        for name in {*own_names(items), *self._folders}:
            folder = self._folders.setdefault(name, Folder(f"{items}/{name}"))
            before = folder.lengths.keys()
            if folder.list_again():
                for item_id in before - folder.lengths.keys():
                    self._forget(item_id)
                self._read_new(folder)
        self._see_packs()

    def _read_new(self, folder: Folder) -> None:
        new = folder.lengths.keys() - folder.touched - self._untouched - self._entries.keys()
        untouched = self._ready_among(new - self._unreadable.keys() if self._unreadable else new)
        self._untouched |= untouched
        for item_id in folder.touched if len(untouched) == len(new) else (new - untouched) | folder.touched:
            known = self._entries.get(item_id)
            if item_id not in self.done and (known is None or len(known.records) < folder.lengths[item_id]):
                self._read(item_id, known, folder)
        for item_id in folder.orphans:
            self._find_orphan(item_id)

    def _ready_among(self, item_ids: set[str]) -> set[str]:
        """Return those of whom a hint says that they are ready; the hints are listed only when there is a new item."""
        if item_ids and self._ready is None:
            self._ready = untouched_ready(self._queue.layout)
        return item_ids & self._ready if self._ready else set()

    def _read(self, item_id: str, known: Entry | None, folder: Folder) -> None:
        chain = self._queue.chain
        self._forget(item_id)
        if not is_id(item_id):
            self._unreadable[item_id] = Damage(f"{folder.path}/{item_id}.json", NOT_OURS)
            return
        try:
            entry = chain.read_own_files(item_id, known.records if known is not None else ())
        except Unreadable as error:
            self._unreadable[item_id] = Damage(str(error.path), error.problem, item_id)
            folder.forget()
            return
        if entry is not None and entry.last_is("done"):
            self.done.add(entry)
        elif entry is not None:
            self._entries[item_id] = entry
        elif shard(item_id) != folder.path.rpartition("/")[2]:
            self._unreadable[item_id] = Damage(f"{folder.path}/{item_id}.json", "does not belong into this directory")

    def _find_orphan(self, item_id: str) -> None:
        """Records without their item: the item was packed and tidying was killed, or somebody removed its file."""
        if is_id(item_id) and not self._queue.is_done(item_id):
            path = self._queue.layout.item(item_id)
            self._unreadable[item_id] = Damage(path, "is missing, although there are records of this item", item_id)

    def _forget(self, item_id: str) -> None:
        self._entries.pop(item_id, None)
        self._untouched.discard(item_id)
        self._unreadable.pop(item_id, None)
        self.done.drop(item_id)

    def _see_packs(self) -> None:
        headers, unreadable = self._queue.packs.look()
        self._found += [Damage(str(error.path), error.problem) for error in unreadable]
        self.done.see_packs(headers, self._queue.packs.unfinished())

    # --- telling --------------------------------------------------------------------------------------

    @property
    def damage(self) -> list[Damage]:
        """What is not ours or cannot be read; damaged items come first."""
        foreign = [damage for folder in self._folders.values() for damage in folder.damage()]
        return [*self._unreadable.values(), *self._found, *foreign, *self.done.damage]

    def entries(self) -> list[Entry]:
        """Return the items that were touched and are not done, in the order of adding."""
        return sorted(self._entries.values(), key=_by_age)

    def all_entries(self, *, packed: bool = False) -> list[Entry]:
        """Return all items in the order of adding, with `packed` also those in packs; reads those that are not kept."""
        return sorted(self.each_entry(packed=packed), key=_by_age)

    def each_entry(self, *, packed: bool = False) -> Iterator[Entry]:
        """Yield the same in any order, and keep none of them."""
        yield from self._entries.values()
        yield from self._others()
        if packed:
            yield from self._packed()

    def _others(self) -> Iterator[Entry]:
        for folder in self._folders.values():
            for item_id in folder.lengths:
                if item_id in self._untouched or item_id in self.done:
                    try:
                        entry = self._queue.chain.read_own_files(item_id)
                    except Unreadable as error:
                        self._unreadable[item_id] = Damage(str(error.path), error.problem, item_id)
                        continue
                    if entry is not None:
                        yield entry

    def _packed(self) -> Iterator[Entry]:
        with self._queue.packs.opened() as files:
            for path, file in files:
                try:
                    yield from (entry for entry in entries_in(path, file) if entry.item.id not in self.done)
                except Unreadable as error:  # what stands before the damage is shown
                    self._found.append(Damage(str(error.path), error.problem))

    def get(self, item_id: str) -> Entry | None:
        """Return an item that was touched and is not done."""
        return self._entries.get(item_id)

    def is_done(self, item_id: str) -> bool:
        """Tell whether the item is done, wherever it is kept."""
        if item_id in self.done or item_id in self._done_elsewhere:
            return True
        if item_id in self._entries or item_id in self._untouched or not self._queue.is_done(item_id):
            return False
        self._done_elsewhere.add(item_id)
        return True

    def state(self, entry: Entry) -> State:
        return state_of(entry, self.is_done, self._now)

    def takable(self) -> Iterator[str]:
        """Yield the ids of the items that are ready or delayed."""
        yield from self._untouched
        yield from (name for name, entry in self._entries.items() if self.state(entry) in {"ready", "delayed"})

    def counts(self) -> dict[State, int]:
        """Return how many items are in each state; every state is a key. Those that cannot be read are in none."""
        found = Counter(self.state(entry) for entry in self._entries.values())
        found["ready"] += len(self._untouched)
        found["done"] += len(self.done)
        return {state: found[state] for state in STATES}

    def is_drained(self) -> bool:
        """True when nothing is takable, delayed, in work or landing: only a person can make a difference now."""
        counts = self.counts()
        return not any(counts[state] for state in ("ready", "delayed", "working", "landing"))


def _by_age(entry: Entry) -> tuple[str, str]:
    return entry.item.added_at, entry.item.id
