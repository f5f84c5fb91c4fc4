"""One taker's view of the ready items, in taking order: priority, then age.

The listings are kept between calls and read again only when the bell of their priority rang, so that a
take costs the same with ten items waiting and with a hundred thousand.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from enum import Enum, auto

from .bell import ANYTHING, DELAYED, Bell
from .hints import Hint, list_names
from .layout import Layout


class Answer(Enum):
    """What came of trying one ready item."""

    TAKEN = auto()
    GONE = auto()  # somebody else has it, or it never was takable
    SKIP = auto()  # takable, but not by this taker now
    KEEP = auto()  # was only looked at


class ReadyView:
    """The ready items as one taker knows them."""

    def __init__(self, layout: Layout, bell: Bell) -> None:
        self._ready = str(layout.ready)
        self._bell = bell
        self._heard = b""
        self._buckets: dict[int, list[str]] = {}
        self._names: dict[tuple[int, str], list[str]] = {}  # in reverse, so that the first is cheap to drop

    def forget(self) -> None:
        """Read everything again next time, whether or not the bell rings."""
        self._heard = b""
        self._buckets.clear()
        self._names.clear()

    def peek(self) -> Hint | None:
        """Return what `first` would offer first, and keep the listing that tells it."""
        return self.first(lambda _hint, _path: Answer.KEEP)

    def first(self, attempt: Callable[[Hint, str], Answer]) -> Hint | None:
        """Offer ready items, with the paths of their hints, to `attempt` in taking order until it takes one."""
        for priority in range(ANYTHING):
            for bucket in tuple(self._listed_buckets(priority)):
                taken = self._first_in(priority, bucket, attempt)
                if taken is not None:
                    return taken
        return None

    def _first_in(self, priority: int, bucket: str, attempt: Callable[[Hint, str], Answer]) -> Hint | None:
        folder = f"{self._ready}/{priority}/{bucket}"
        names = self._listed_names(priority, bucket)
        index = len(names) - 1
        while index >= 0:
            hint = Hint.parse(names[index])
            answer = Answer.GONE if hint is None else attempt(hint, f"{folder}/{names[index]}")
            if answer is Answer.KEEP:
                return hint
            if answer is not Answer.SKIP:
                del names[index]
            if answer is Answer.TAKEN:
                return hint
            index -= 1
        if not names:
            self._drop_bucket(priority, bucket, folder)
        return None

    def listen(self) -> bool:
        """Forget the listings for which the bell rang; True when it rang for delayed items."""
        heard = self._bell.heard()
        if heard == self._heard:
            return False
        changed = Bell.changed(self._heard, heard)
        for priority in changed:
            for bucket in self._buckets.pop(priority, ()):
                self._names.pop((priority, bucket), None)
        self._heard = heard
        return DELAYED in changed

    def _listed_buckets(self, priority: int) -> list[str]:
        if priority not in self._buckets:
            self._buckets[priority] = list_names(f"{self._ready}/{priority}")
        return self._buckets[priority]

    def _listed_names(self, priority: int, bucket: str) -> list[str]:
        key = (priority, bucket)
        if key not in self._names:
            self._names[key] = list_names(f"{self._ready}/{priority}/{bucket}")[::-1]
        return self._names[key]

    def _drop_bucket(self, priority: int, bucket: str, folder: str) -> None:
        """Forget a bucket in which nothing is left for us, and remove it when it is empty for everybody."""
        self._names.pop((priority, bucket), None)
        self._buckets[priority].remove(bucket)
        with contextlib.suppress(OSError):  # not empty: another taker is between its claim and its tidying
            os.rmdir(folder)  # noqa: PTH106 (text, see Layout)


def ready_hints(layout: Layout) -> Iterator[tuple[Hint, str]]:
    """Yield all ready hints with their paths."""
    for priority in list_names(layout.ready):
        for bucket in list_names(layout.ready / priority):
            for name in list_names(layout.ready / priority / bucket):
                hint = Hint.parse(name)
                if hint is not None:
                    yield hint, f"{layout.ready}/{priority}/{bucket}/{name}"
