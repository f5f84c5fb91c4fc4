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
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from . import adding, atomic, probe
from .atomic import Unreadable, open_own, own_names
from .bell import DELAYED, Bell
from .chain import Chain, LastRecord
from .clock import utc_now
from .directory import format_version, make_directory
from .hint import Hint
from .hints import Hints, remove
from .imports import ImportUnfinished, is_import, read_import, write_import
from .layout import Layout
from .packing import finish_packing
from .packs import Packs
from .records import FORMAT_VERSION, Entry, Item, Record, State
from .states import state_of

_PATIENCE_SECONDS = 60.0  # tidying holds the lock for seconds


class NewerFormat(Exception):
    """The queue was written by a newer version of this program."""


class NotAllowed(ValueError):
    """A record that cannot follow the last one of its chain, as a retry of what is done."""


class Queue:
    """One queue directory. Opening one that does not exist makes an empty queue on first use."""

    def __init__(self, root: Path, *, durable: bool = True, now: Callable[[], str] = utc_now) -> None:
        self.layout = Layout(root)
        self.chain = Chain(self.layout, durable=durable)
        self.hints = Hints(self.layout)
        self.packs = Packs(self.layout)
        self.now = now
        self.durable = durable
        self._bell: Bell | None = None
        self._made = False
        found = format_version(self.layout)
        if found > FORMAT_VERSION:
            raise NewerFormat(
                f"{root} has format {found}, this program knows {FORMAT_VERSION}; "
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
        """Make the directories of the queue where they are missing; looks once, and again when drafts/ is gone."""
        if not self._made or not atomic.exists(self.layout.drafts):
            make_directory(self.layout, durable=self.durable)
            self._made = True

    # --- adding ---------------------------------------------------------------------------------------

    def add(self, items: Sequence[Item]) -> list[Item]:
        """Add all of `items` or none, and return them with their ids and times.

        Raises InvalidItem, naming which, and ImportUnfinished when they are added but not all written yet. An item
        without an id gets one from its title.
        """
        self.create()
        with self.adding():
            items = adding.complete(items, self.chain.has_item, self.now())
            adding.check(items, self.chain.has_item, lambda: probe.ignores_case(self.layout.format))
            new = {item.id for item in items}
            self.chain.flush_names({name for item in items for name in item.after} - new)
            if len(items) == 1:
                self.chain.create_item(items[0])
                with contextlib.suppress(OSError):  # it is added; `heal` makes the hint
                    self._make_hints(items)
            elif items:
                self._import(items)
        return items

    @contextlib.contextmanager
    def adding(self) -> Iterator[None]:
        """Let one process add at a time (ids and dependencies are checked against the others).

        The kernel frees the lock of a killed one; an import or a tidying that was left half done is finished first.
        """
        descriptor = open_own(self.layout.add_lock, os.O_RDWR | os.O_CREAT)
        try:
            self._lock_for_adding(descriptor)
            finish_packing(self.layout, durable=self.durable)
            for name in filter(is_import, own_names(self.layout.imports)):
                with contextlib.suppress(Unreadable):  # a survey names it
                    path = self.layout.imports / name
                    self._finish_import(path, read_import(path))
            yield
        finally:
            os.close(descriptor)

    def _lock_for_adding(self, descriptor: int) -> None:
        """Wait for the others; not for ever, since one of them may have been stopped in the middle of it."""
        deadline, pause_seconds = time.monotonic() + _PATIENCE_SECONDS, 0.0005
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    said = "is held by a process that adds or tidies and does not go on; is one of yours stopped?"
                    raise OSError(errno.ETIMEDOUT, said, str(self.layout.add_lock)) from None
                time.sleep(pause_seconds)
                pause_seconds = min(0.01, pause_seconds * 2)
            else:
                return

    def _import(self, items: Sequence[Item]) -> None:
        for item in items:
            self.layout.require_own_folder(item.id)
        path = write_import(self.layout, items, durable=self.durable)
        try:
            self._finish_import(path, items)
        except OSError as error:
            raise ImportUnfinished(error) from error

    def _finish_import(self, path: Path, items: Sequence[Item]) -> None:
        """Put the items of an import where they belong, as far as an earlier try has not done so."""
        self.chain.create_items(items)
        self._make_hints([item for item in items if self.chain.has_own_files(item.id)])
        remove(path)

    def _make_hints(self, items: Iterable[Item]) -> None:
        with self.hints.many():
            for item in items:
                self.refresh_hints(Entry(item, self.chain.read_records(item.id)), ring=False)
        for priority in {item.priority for item in items}:
            self.bell.ring(priority)
        self.bell.ring()

    # --- transitions ----------------------------------------------------------------------------------

    def append(self, entry: Entry, record: Record, files: LastRecord | None = None) -> bool:
        """Append the next record to `entry` as it was read; False when its chain has gone on since.

        Raises NotAllowed after ``done``, which is final, and for a claim, which only a `Taker` makes.
        """
        if record.kind == "claimed" or (entry.last is not None and entry.last.kind == "done"):
            last = entry.last.kind if entry.last else "nothing"
            raise NotAllowed(f"item {entry.item.id!r}: {record.kind!r} cannot be recorded after {last!r}")
        if not self.chain.append(entry.item.id, entry.next_number, record, files):
            return False
        with contextlib.suppress(OSError):  # it has happened; `heal` makes the hint
            self.refresh_hints(Entry(entry.item, (*entry.records, record)))
        return True

    def refresh_hints(self, entry: Entry, *, ring: bool = True) -> None:
        """Make the hints that follow from the last record of `entry` (which may have been made before)."""
        item, last = entry.item, entry.last
        if entry.takable:
            self._hint_takable(entry, ring=ring)
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
            self._mark_dependent(dependency, item.id)
        if not all(self.is_done(dependency) for dependency in item.after):
            return
        if entry.last is not None and entry.last.not_before is not None and entry.last.not_before > self.now():
            self.hints.delay(hint, entry.last.not_before)
            self.bell.ring(DELAYED)
            return
        self.hints.offer(hint)
        if ring:
            self.bell.ring(item.priority)

    def _mark_dependent(self, dependency: str, item_id: str) -> None:
        """Make the note, unless something else has the name of its directory: then `heal` finds what became ready."""
        if not os.path.islink(f"{self.layout.dependents}/{dependency}"):  # noqa: PTH114 (text, see Layout)
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                self.hints.mark_dependent(dependency, item_id)

    def _release_dependents(self, item_id: str) -> None:
        for name in self.hints.dependents(item_id):
            with contextlib.suppress(Unreadable):
                dependent = self.chain.read(name)
                if dependent is not None and dependent.takable:
                    self._hint_takable(dependent, ring=True)

    def promote_due(self) -> str | None:
        """Make the delayed items takable that are due; return when the next one is (as `file_time`), if any."""
        priorities, next_due = self.hints.promote_due(self.now())
        for priority in priorities:
            self.bell.ring(priority)
        return next_due

    # --- reading --------------------------------------------------------------------------------------

    def entry(self, item_id: str) -> Entry | None:
        """Return the item with its history, None when there is none. Raises Unreadable."""
        return self.chain.read(item_id)

    def is_done(self, item_id: str) -> bool:
        """Tell whether the item is done; one that cannot be read is not."""
        return self.chain.is_done(item_id)

    def state(self, entry: Entry) -> State:
        return state_of(entry, self.is_done, self.now())
