"""The queue: the directory of items and their chains, and the only code that changes it.

Guarantees:
- an item that `add` has returned is never lost, whatever is killed when: it is takable, held by a named
  worker, or has an outcome;
- every transition is one hard link onto the next number of the item's chain, so of all that compete
  (completing, taking back, cancelling, claiming again) exactly one happens, and the others are told;
- everything else is a hint, and `heal` makes those again; it can itself be killed and can run twice at once.

Assumes: one host, a local file system with hard links and flock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from . import adding, atomic
from .atomic import Unreadable
from .bell import Bell
from .chain import Chain
from .clock import utc_now
from .hints import Hint, Hints, list_names, remove
from .layout import FOLDERS, README, Layout
from .records import FORMAT_VERSION, Entry, Item, Record, State, encode
from .states import state_of


class NewerFormat(Exception):
    """The queue was written by a newer version of this program."""


class Queue:
    """One queue directory. Opening one that does not exist makes an empty queue on first use."""

    def __init__(self, root: Path, *, durable: bool = True, now: Callable[[], str] = utc_now) -> None:
        self.layout = Layout(root)
        self.chain = Chain(self.layout, durable=durable)
        self.hints = Hints(self.layout)
        self.now = now
        self._durable = durable
        self._bell: Bell | None = None
        self._check_format()

    def _check_format(self) -> None:
        data = atomic.read_file(self.layout.format)
        with contextlib.suppress(msgspec.MsgspecError):
            found = 0 if data is None else msgspec.json.decode(data, type=dict[str, int]).get("version", 0)
            if found > FORMAT_VERSION:
                raise NewerFormat(
                    f"{self.layout.root} has format {found}, this program knows {FORMAT_VERSION}; "
                    "install the newer parallel-loop that wrote it"
                )

    @property
    def bell(self) -> Bell:
        """The bell; opening it makes the queue's directories, since only those who change or take need it."""
        if self._bell is None:
            self.create()
            self._bell = Bell(self.layout.bell)
        return self._bell

    def create(self) -> None:
        """Make the directories of the queue where they are missing."""
        if self.layout.format.exists():
            return
        for folder in FOLDERS:
            (self.layout.root / folder).mkdir(parents=True, exist_ok=True)
        atomic.replace_file(self.layout.root / "README", README.encode())
        atomic.replace_file(self.layout.format, encode({"version": FORMAT_VERSION}))  # last: all else is there

    # --- adding ---------------------------------------------------------------------------------------

    def add(self, items: Sequence[Item]) -> list[Item]:
        """Add all of `items` or none, and return them with their ids and times.

        Raises InvalidItem, naming which. An item without an id gets one from its title.
        """
        self.create()
        with self.adding():
            items = adding.complete(items, self.chain.has_item, self.now())
            adding.check(items, self.chain.has_item)
            if len(items) == 1:
                self.chain.create_item(items[0])
                self._make_hints(items)
            elif items:
                self._import(items)
        return items

    @contextlib.contextmanager
    def adding(self) -> Iterator[None]:
        """Let one process add at a time (ids and dependencies are checked against the others).

        The kernel frees the lock of a killed one, and an import that it left half done is finished first.
        """
        descriptor = os.open(self.layout.add_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for name in list_names(self.layout.imports):
                self._expand(self.layout.imports / name)
            yield
        finally:
            os.close(descriptor)

    def _import(self, items: Sequence[Item]) -> None:
        """Add many items at once: the file under ``imports/`` is the commit point, the rest is tidying."""
        path = self.layout.imports / f"{items[0].id}.json"
        atomic.publish(self.layout.drafts, path, encode(items), durable=self._durable)
        self._expand(path)

    def _expand(self, path: Path) -> None:
        data = atomic.read_file(path, limit_bytes=2**40)
        try:
            items = msgspec.json.decode(data or b"[]", type=list[Item])
        except msgspec.MsgspecError:
            return  # not ours; `damaged` names it
        for item in items:
            self.chain.create_item(item, durable=False)  # exists already: an earlier try was killed here
        if self._durable:
            atomic.sync_everything()
        self._make_hints(items)
        remove(path)

    def _make_hints(self, items: Iterable[Item]) -> None:
        for item in items:
            self.refresh_hints(Entry(item, self.chain.read_records(item.id)), ring=False)
        for priority in {item.priority for item in items}:
            self.bell.ring(priority)
        self.bell.ring()

    # --- transitions ----------------------------------------------------------------------------------

    def append(self, entry: Entry, record: Record) -> bool:
        """Append the next record to `entry` as it was read; False when its chain has gone on since."""
        if not self.chain.append(entry.item.id, entry.next_number, record):
            return False
        self.refresh_hints(Entry(entry.item, (*entry.records, record)))
        return True

    def refresh_hints(self, entry: Entry, *, ring: bool = True) -> None:
        """Make the hints that follow from the last record of `entry` (which may have been made before)."""
        item, last = entry.item, entry.last
        if entry.takable:
            self._hint_takable(entry, ring=ring)
        elif last is not None and last.kind == "claimed":
            self.hints.mark_working(Hint.of(item, len(entry.records)))
        elif last is not None and last.kind == "landing":
            self.hints.mark_landing(item.id, len(entry.records), last.at)
        elif last is not None and last.kind == "done":
            self._release_dependents(item.id)
        if ring:
            self.bell.ring()

    def _hint_takable(self, entry: Entry, *, ring: bool) -> None:
        item, hint = entry.item, Hint.of(entry.item, entry.next_number)
        # The note first, then the look: the one who finishes the dependency does it the other way round,
        # so at least one of the two sees the other.
        for dependency in item.after:
            self.hints.mark_dependent(dependency, item.id)
        if not all(self.is_done(dependency) for dependency in item.after):
            return
        if entry.last is not None and entry.last.not_before is not None and entry.last.not_before > self.now():
            self.hints.delay(hint, entry.last.not_before)
            return
        self.hints.offer(hint)
        if ring:
            self.bell.ring(item.priority)

    def _release_dependents(self, item_id: str) -> None:
        for name in self.hints.dependents(item_id):
            with contextlib.suppress(Unreadable):
                dependent = self.chain.read(name)
                if dependent is not None and dependent.takable:
                    self._hint_takable(dependent, ring=True)

    # --- reading --------------------------------------------------------------------------------------

    def entry(self, item_id: str) -> Entry | None:
        """Return the item with its history, None when there is none. Raises Unreadable."""
        return self.chain.read(item_id)

    def is_done(self, item_id: str) -> bool:
        records = self.chain.read_records(item_id)
        return bool(records) and records[-1].kind == "done"

    def state(self, entry: Entry) -> State:
        return state_of(entry, self.is_done, self.now())
