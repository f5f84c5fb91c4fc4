"""One taker's view of the ready items, in taking order: priority, then age.

The listings are kept between calls and read again only when the bell of their priority rang, so that a
take costs the same with ten items waiting and with a hundred thousand.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from enum import Enum, auto

from .atomic import own_names
from .bell import DELAYED, LOWEST_PRIORITY, Bell
from .frontier import Frontier
from .hints import Hint
from .layout import Layout

_ALL_PRIORITIES = range(LOWEST_PRIORITY + 1)


class Answer(Enum):
    """What came of trying one ready item."""

    TAKEN = auto()
    LOST = auto()  # somebody else has it
    GONE = auto()  # it never was takable, or is ours already
    SKIP = auto()  # takable, but not by this taker now
    KEEP = auto()  # was only looked at


class ReadyView:
    """The ready items as one taker knows them."""

    def __init__(self, layout: Layout, bell: Bell) -> None:
        self._ready = str(layout.ready)
        self._bell = bell
        self._frontier = Frontier(layout.frontier)
        self._heard = b""
        self._buckets: dict[int, list[str]] = {}
        self._names: dict[tuple[int, str], list[str]] = {}  # in reverse, so that the first is cheap to drop
        self._filled: list[int] | None = None  # priorities with buckets
        self._rings = [b""] * (LOWEST_PRIORITY + 1)
        self._passed_over = False  # an item of this priority, in this look
        self._crowded = False  # others take here too, so their frontier is worth a look
        self._trusted = False  # the frontier was heeded since the last listing

    def forget(self) -> None:
        """Read everything again next time, whether or not the bell rings."""
        self._heard = b""
        self._list_again()

    def _list_again(self) -> None:
        self._buckets.clear()
        self._names.clear()
        self._filled = None
        self._crowded = self._trusted = False

    def peek(self) -> Hint | None:
        """Return what `first` would offer first, and keep the listing that tells it."""
        return self.first(lambda _hint, _path: Answer.KEEP)

    def first(self, attempt: Callable[[Hint, str], Answer]) -> Hint | None:
        """Offer ready items, with the paths of their hints, to `attempt` in taking order until it takes one."""
        if self._filled is None:
            self._filled = [priority for priority in _ALL_PRIORITIES if self._listed_buckets(priority)]
        for priority in self._filled:
            taken = self._first_of(priority, attempt)
            if taken is not None:
                return taken
        if self._trusted:  # what the frontier hid is looked at before anybody is told that there is nothing
            self._list_again()
            return self.first(attempt)
        return None

    def _first_of(self, priority: int, attempt: Callable[[Hint, str], Answer]) -> Hint | None:
        self._passed_over = False
        buckets = self._buckets[priority]
        place = 0
        while place < len(buckets):
            bucket = buckets[place]
            names = self._listed_names(priority, bucket)
            found = self._first_in(f"{self._ready}/{priority}/{bucket}", priority, names, attempt)
            if found is not None:
                return found
            if names:
                place += 1
            else:
                self._drop_bucket(priority, bucket)
        return None

    def _first_in(
        self, folder: str, priority: int, names: list[str], attempt: Callable[[Hint, str], Answer]
    ) -> Hint | None:
        if self._crowded:
            self._skip_claimed(priority, names)
        index = len(names)
        while index > 0:
            index -= 1
            name = names[index]
            hint = Hint.parse(name)
            answer = Answer.GONE if hint is None else attempt(hint, f"{folder}/{name}")
            if answer is Answer.KEEP:
                return hint
            if answer is Answer.SKIP:
                self._passed_over = True
                continue
            del names[index]
            if answer is Answer.TAKEN:
                self._advance(priority, name)
                return hint
            if answer is Answer.LOST:
                self._crowded = True
                self._skip_claimed(priority, names)
                index = min(index, len(names))
        return None

    def _skip_claimed(self, priority: int, names: list[str]) -> None:
        """Drop what others have claimed, from the end of `names`; not once something there was passed over."""
        if self._passed_over:
            return
        frontier = self._frontier.read(priority, self._rings[priority])
        while names and names[-1] < frontier:
            names.pop()
            self._trusted = True

    def _advance(self, priority: int, name: str) -> None:
        """Tell the others that all up to `name` is claimed.

        Not when an item was passed over that another may take, and not back to where others were before us.
        """
        ring = self._rings[priority]
        if not self._passed_over and not (self._crowded and name < self._frontier.read(priority, ring)):
            self._frontier.advance(priority, ring, name)

    def listen(self) -> bool:
        """Forget the listings for which the bell rang; True when it rang for delayed items."""
        heard = self._bell.heard_of_items()
        if heard == self._heard:
            return False
        changed = Bell.changed(self._heard, heard)
        for priority in changed:
            for bucket in self._buckets.pop(priority, ()):
                self._names.pop((priority, bucket), None)
        self._heard = heard
        self._rings = [Bell.number(heard, priority).ljust(8, b"\0") for priority in _ALL_PRIORITIES]
        self._filled = None
        self._crowded = False
        return DELAYED in changed

    def _listed_buckets(self, priority: int) -> list[str]:
        found = self._buckets.get(priority)
        if found is None:
            found = self._buckets[priority] = own_names(f"{self._ready}/{priority}")
        return found

    def _listed_names(self, priority: int, bucket: str) -> list[str]:
        names = self._names.get((priority, bucket))
        if names is None:
            names = self._names[priority, bucket] = own_names(f"{self._ready}/{priority}/{bucket}")[::-1]
        return names

    def _drop_bucket(self, priority: int, bucket: str) -> None:
        """Forget a bucket in which nothing is left for us, and remove it when it is empty for everybody."""
        self._names.pop((priority, bucket), None)
        self._buckets[priority].remove(bucket)
        with contextlib.suppress(OSError):  # not empty: another taker is between its claim and its tidying
            os.rmdir(f"{self._ready}/{priority}/{bucket}")  # noqa: PTH106 (text, see Layout)

    def close(self) -> None:
        self._frontier.close()


def ready_hints(layout: Layout) -> Iterator[tuple[Hint, str]]:
    """Yield all ready hints with their paths."""
    for priority in own_names(layout.ready):
        for bucket in own_names(layout.ready / priority):
            for name in own_names(layout.ready / priority / bucket):
                hint = Hint.parse(name)
                if hint is not None:
                    yield hint, f"{layout.ready}/{priority}/{bucket}/{name}"


def offers(layout: Layout) -> set[tuple[str, str]]:
    """Return what all ready hints say: which item may get which record next."""
    return {(part[2], part[3]) for parts in _buckets_of_hints(layout) for part in parts}


def untouched_ready(layout: Layout) -> set[str]:
    """Return the ids of all items that may be taken for the first time, as the hints have it."""
    found: set[str] = set()
    for parts in _buckets_of_hints(layout):
        found.update([part[2] for part in parts if part[3] == "1"])
    return found


def _buckets_of_hints(layout: Layout) -> Iterator[list[list[str]]]:
    """Yield the parts of the ready hints, bucket by bucket: as Hint.parse has them, but many times as quick."""
    for priority in own_names(layout.ready):
        for bucket in own_names(layout.ready / priority):
            parts = [name.split("~") for name in own_names(f"{layout.ready}/{priority}/{bucket}")]
            yield [part for part in parts if len(part) == 5]
