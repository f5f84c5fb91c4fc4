"""Hints: names that tell where to look, so that nobody has to read every chain.

A hint is a further name of the item's own file: a hard link is several times cheaper than an empty file,
and there is none for an item that does not exist. It may be missing or out of date; whoever acts on one
looks at the chain first, and `heal` makes the missing ones. That is why nothing here is flushed to disk
and no failure here loses an item.
"""

from __future__ import annotations

import bisect
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import atomic
from .atomic import StrPath, own_names
from .layout import Layout
from .records import Item

BUCKET_SIZE = 100  # names in one ready directory: listing it again after every ring stays cheap
_SEPARATOR = "~"  # in no id, role or time
_NO_FIRST_DIGIT = ("", "0")
_MOST_TAILS = 1000  # buckets whose fill is remembered
_MOST_TRIES = 20  # somebody would have to remove the bucket between two calls every single time


class Hint(NamedTuple):
    """Says that record `number` may be the next of the item's chain. The order of the names is the taking order.

    The role stands in it so that an item whose role is at its limit is passed over without being read.
    """

    priority: int
    age: str
    id: str
    number: int
    role: str = ""

    @property
    def name(self) -> str:
        return f"{self.priority}~{self.age}~{self.id}~{self.number}~{self.role}"

    @classmethod
    def of(cls, item: Item, number: int) -> Hint:
        return cls(item.priority, file_time(item.added_at), item.id, number, item.role or "")

    @classmethod
    def parse(cls, name: str) -> Hint | None:
        """Read a hint's name; None for a name that is no hint."""
        try:
            priority, age, item_id, number, role = name.split(_SEPARATOR)
        except ValueError:
            return None
        if len(priority) != 1 or number[:1] in _NO_FIRST_DIGIT or not (priority + number).isdigit():
            return None
        try:
            return cls(int(priority), age, item_id, int(number), role)
        except ValueError:  # digits that are none of ours
            return None


class _Tail(NamedTuple):
    """A bucket as far as it is known: how full it is, and the age of the youngest in it."""

    fill: int
    youngest: str


class Hints:
    """Makes, moves and lists the hints of one queue."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._tails: dict[str, _Tail] = {}  # by bucket; `heal` comes to them in any order
        self._buckets: dict[str, list[str]] | None = None

    @contextlib.contextmanager
    def many(self) -> Iterator[None]:
        """List the buckets of a priority only once while many items are offered: there may be thousands."""
        self._buckets = {}
        try:
            yield
        finally:
            self._buckets = None

    def offer(self, hint: Hint) -> None:
        """Put the item among the ready ones."""
        folder = f"{self._layout.ready}/{hint.priority}"
        buckets = self._listed_buckets(folder)
        bucket = self._bucket_for(folder, buckets, hint.age)
        for _ in range(_MOST_TRIES):
            try:
                self._name(hint.id, f"{folder}/{bucket}/{hint.name}")
            except FileNotFoundError:  # a new one, or a taker removed it when it was empty
                _make_folder(Path(folder, bucket))
            else:
                break
        if bucket not in buckets[-1:] and bucket not in buckets:
            bisect.insort(buckets, bucket)

    def _listed_buckets(self, folder: str) -> list[str]:
        if self._buckets is None:
            return own_names(folder)
        if folder not in self._buckets:
            self._buckets[folder] = own_names(folder)
        return self._buckets[folder]

    def _bucket_for(self, folder: str, buckets: list[str], age: str) -> str:
        """Choose the bucket that keeps the order by age: the last that begins no later than `age`.

        A full one is followed by a new one only for what is younger than all in it, so that each bucket
        ends before the next begins; an item that comes back goes to where its age belongs.
        """
        index = bisect.bisect_right(buckets, age)
        if index == 0:
            return age
        bucket = buckets[index - 1]
        key = f"{folder}/{bucket}"
        tail = self._tails.get(key)
        if tail is None:
            ages = [hint.age for hint in _parsed(own_names(key))]
            tail = _Tail(len(ages), ages[-1] if ages else "")
        if tail.fill >= BUCKET_SIZE and age > tail.youngest:
            return age
        if len(self._tails) >= _MOST_TAILS:
            self._tails.clear()
        self._tails[key] = _Tail(tail.fill + 1, max(age, tail.youngest))
        return bucket

    def delay(self, hint: Hint, not_before: str) -> None:
        """Put the item among those that become ready at `not_before`."""
        self._name(hint.id, f"{self._layout.delayed}/{file_time(not_before)}{_SEPARATOR}{hint.name}")

    def promote_due(self, now: str) -> tuple[set[int], str | None]:
        """Offer all delayed items that are due.

        Returns their priorities, and when the next one is due (as `file_time`), if any.
        """
        limit = file_time(now)
        promoted: set[int] = set()
        for name in own_names(self._layout.delayed):
            due, _, rest = name.partition(_SEPARATOR)
            hint = Hint.parse(rest)
            if hint is None:
                continue
            if due > limit:
                return promoted, due
            self.offer(hint)
            remove(self._layout.delayed / name)
            promoted.add(hint.priority)
        return promoted, None

    def mark_landing(self, item_id: str, number: int, at: str) -> None:
        """Note that a branch waits for landing, in the order of handing over."""
        self._name(item_id, f"{self._layout.landing}/{_SEPARATOR.join((file_time(at), item_id, str(number)))}")

    def unmark_landing(self, item_id: str) -> None:
        for name in own_names(self._layout.landing):
            if name.split(_SEPARATOR)[1:2] == [item_id]:
                remove(self._layout.landing / name)

    def landing(self) -> list[str]:
        """Return the ids of items that wait for landing, first come first."""
        parts = (name.split(_SEPARATOR) for name in own_names(self._layout.landing))
        return list(dict.fromkeys(part[1] for part in parts if len(part) == 3))

    def mark_dependent(self, dependency: str, item_id: str) -> None:
        folder = self._layout.after / dependency
        for _ in range(_MOST_TRIES):
            _make_folder(folder)
            try:
                self._name(item_id, f"{folder}/{item_id}")
            except FileNotFoundError:  # tidying removed the folder
                continue
            return

    def dependents(self, dependency: str) -> list[str]:
        folder = f"{self._layout.dependents}/{dependency}"
        return own_names(folder) if atomic.exists(folder) else []  # mostly nobody waits, which is quicker to ask

    def _name(self, item_id: str, path: str) -> None:
        """Make the hint; none of an item that was done and packed meanwhile."""
        try:
            atomic.link_once(self._layout.item(item_id), path)
        except FileNotFoundError:
            if os.path.lexists(self._layout.item(item_id)):
                raise


def _make_folder(folder: Path) -> None:
    """Make the folder where it is missing. It may be gone again at once: whoever empties one removes it."""
    with contextlib.suppress(FileExistsError):  # pathlib looks again whether it is a folder, and it was one
        folder.mkdir(parents=True, exist_ok=True)


def remove(path: StrPath) -> None:
    try:  # noqa: SIM105 (twice as quick as suppress)
        os.unlink(path)  # noqa: PTH108 (text, see Layout)
    except (FileNotFoundError, IsADirectoryError):  # a directory is none of ours
        pass


def file_time(text: str) -> str:
    return text.replace(":", "")


def _parsed(names: list[str]) -> Iterator[Hint]:
    for name in names:
        hint = Hint.parse(name)
        if hint is not None:
            yield hint
