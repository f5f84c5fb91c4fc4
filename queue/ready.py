"""One taker's view of the ready items, in taking order: priority, then age.

The listings are kept between calls and read again only when the bell of their priority rang, so that a
take costs the same with ten items waiting and with a hundred thousand.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Set
from enum import Enum, auto

from .atomic import Unreadable, own_names
from .bell import DELAYED, LOWEST_PRIORITY, Bell
from .buckets import Bucket, read_text
from .frontier import Frontier
from .hint import SEPARATOR, Hint
from .layout import Layout

_OFFER = re.compile(r"^\d~[^~\n]*~([^~\n]+)~(\d+)~[^~\n]*$(?=\n)", re.MULTILINE)  # as Hint.parse, many times as quick
_FIRST_OFFER = re.compile(r"^\d~[^~\n]*~([^~\n]+)~1~[^~\n]*$(?=\n)", re.MULTILINE)
_ALL_PRIORITIES = range(LOWEST_PRIORITY + 1)


class Answer(Enum):
    """What came of trying one ready item."""

    TAKEN = auto()
    LOST = auto()  # somebody else has it, and is about to strike its line
    STALE = auto()  # somebody else has it, and has not struck its line for long
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
        self._read: dict[tuple[int, str], Bucket] = {}
        self._open: Bucket | None = None  # the one that was used last: of all others no file is kept open
        self._filled: list[int] | None = None  # priorities with buckets
        self._rings = [b""] * (LOWEST_PRIORITY + 1)
        self._passed_over = False  # an item of this priority, in this look
        self._crowded = False  # others take here too, so their frontier is worth a look
        self._trusted = False  # the frontier was heeded since the last listing
        self._priority, self._name = 0, ""  # what is being tried

    def forget(self) -> None:
        """Read everything again next time, whether or not the bell rings."""
        self._heard = b""
        self._list_again()

    def _list_again(self) -> None:
        self._buckets.clear()
        self._read.clear()
        self._filled = None
        self._crowded = self._trusted = False

    def peek(self) -> Hint | None:
        """Return what `first` would offer first, and keep the listing that tells it."""
        return self.first(lambda _hint: Answer.KEEP)

    def first(self, attempt: Callable[[Hint], Answer], full_roles: Set[str] = frozenset()) -> Hint | None:
        """Offer ready items to `attempt` in taking order until it takes one.

        Those of `full_roles`, which may grow meanwhile, are passed over by their names alone: there may be thousands
        of them in front of an item of another role.
        """
        if self._filled is None:
            self._filled = [priority for priority in _ALL_PRIORITIES if self._listed_buckets(priority)]
        for priority in self._filled:
            taken = self._first_of(priority, attempt, full_roles)
            if taken is not None:
                return taken
        if self._trusted:  # what the frontier hid is looked at before anybody is told that there is nothing
            self._list_again()
            return self.first(attempt, full_roles)
        return None

    def _first_of(self, priority: int, attempt: Callable[[Hint], Answer], full_roles: Set[str]) -> Hint | None:
        self._passed_over = False
        buckets = self._buckets[priority]
        place = 0
        while place < len(buckets):
            bucket = self._bucket(priority, buckets[place])
            found = self._first_in(priority, bucket, attempt, full_roles)
            if found is not None:
                return found
            if bucket.names:
                place += 1
            else:
                del self._read[priority, buckets.pop(place)]
                bucket.remove_if_done()  # else another taker is between its claim and striking the line
        return None

    def _first_in(
        self, priority: int, bucket: Bucket, attempt: Callable[[Hint], Answer], full_roles: Set[str]
    ) -> Hint | None:
        names = bucket.names
        if self._crowded:
            self._skip_claimed(priority, names)
        index = len(names)
        self._priority = priority
        while index > 0:
            index -= 1
            name = names[index]
            if full_roles and name.rpartition(SEPARATOR)[2] in full_roles:
                self._passed_over = True
                continue
            hint = Hint.parse(name)
            self._name = name
            answer = Answer.GONE if hint is None else attempt(hint)
            if answer is Answer.KEEP:
                return hint
            if answer is Answer.SKIP:
                self._passed_over = True
                continue
            del names[index]
            if answer is Answer.TAKEN:
                _strike(bucket, name)
                return hint
            if answer is Answer.STALE:
                _strike(bucket, name)
            if answer is not Answer.GONE:
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

    def announce(self) -> None:
        """Tell the others that the item that `attempt` was offered is as good as claimed, and so are all before it.

        Before the link, so that they do not try the same one. When no claim comes of it, by an error or a kill, the
        item is found by who takes after the next ring, or finds nothing else. Not when an item was passed over that
        another may take.
        """
        if self._passed_over:
            return
        with contextlib.suppress(OSError):  # only a hint
            self._frontier.advance(self._priority, self._rings[self._priority], self._name)

    def listen(self) -> bool:
        """Forget the listings for which the bell rang; True when it rang for delayed items."""
        heard = self._bell.heard_of_items()
        if heard == self._heard:
            return False
        changed = Bell.changed(self._heard, heard)
        for priority in changed:
            for bucket in self._buckets.pop(priority, ()):
                self._read.pop((priority, bucket), None)
        self._heard = heard
        self._rings = [Bell.number(heard, priority).ljust(8, b"\0") for priority in _ALL_PRIORITIES]
        self._filled = None
        self._crowded = False
        return DELAYED in changed

    def _listed_buckets(self, priority: int) -> list[str]:
        if priority not in self._buckets:
            self._buckets[priority] = []
            with contextlib.suppress(PermissionError):  # a directory of somebody else's has nothing for us
                self._buckets[priority] = own_names(f"{self._ready}/{priority}")
        return self._buckets[priority]

    def _bucket(self, priority: int, name: str) -> Bucket:
        bucket = self._read.get((priority, name))
        if bucket is None:
            bucket = self._read[priority, name] = Bucket(f"{self._ready}/{priority}/{name}")
        if self._open is not None and self._open is not bucket:
            self._open.close()
        self._open = bucket
        return bucket

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._frontier.close()


def _strike(bucket: Bucket, name: str) -> None:
    with contextlib.suppress(OSError):  # it is claimed; whoever loses on the line twice strikes it
        bucket.strike(name)


def paths_of_buckets(layout: Layout) -> Iterator[str]:
    """Yield the paths of all buckets."""
    for priority in own_names(layout.ready):
        for name in own_names(layout.ready / priority):
            yield f"{layout.ready}/{priority}/{name}"


def offers(layout: Layout) -> set[tuple[str, str]]:
    """Return what all ready hints say: which item may get which record next."""
    return {offer for text in _texts_of_buckets(layout) for offer in _OFFER.findall(text)}


def untouched_ready(layout: Layout) -> set[str]:
    """Return the ids of all items that may be taken for the first time, as the hints have it."""
    return {item_id for text in _texts_of_buckets(layout) for item_id in _FIRST_OFFER.findall(text)}


def _texts_of_buckets(layout: Layout) -> Iterator[str]:
    for path in paths_of_buckets(layout):
        with contextlib.suppress(FileNotFoundError, Unreadable):
            yield read_text(path)
