"""Which item a worker takes next: not one that touches what is in work, as long as another is ready.

What an item touches is what it declares, else what its prompt names (named.py), and what its branches have changed so
far, by the lander's forecast. What is in work is what is claimed or waits for landing.

Guarantees:
- nobody is idle for this: when all that is ready overlaps, or the only others are less urgent, the first is taken;
- no item is passed over for more than half an hour after it was for the first time, by all workers together;
- of two items that overlap no two workers take one each at the same time, since they take one after the other (a lock,
  which nobody waits for longer than a moment: its holder may have been stopped).

While nothing in work is known to touch anything, no item is read for this; a take costs two `stat` and a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from ...queue import atomic
from ...queue.clock import later
from ...queue.records import Entry, Item
from ...queue.taking import Claim, Enough, PassesOver, Taker
from ..project import Project
from ..rereading import Watched
from .forecast import Forecast
from .globs import Paths, escaped
from .named import Names, paths_of

LONGEST_SECONDS = 1800.0
_MOST_LOOKED_AT = 50  # items in one take; when they all overlap, so may the next ones
_MOST_PASSED_OVER = 200  # that are kept account of
_MOST_REMEMBERED = 5000  # items of which is known what they touch
_PATIENCE_SECONDS = 0.25
_LOOK_SECONDS = 0.002


class Touching(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the items in work declare or name, by id, and since when which items are passed over."""

    in_work: dict[str, tuple[str, ...]] = {}
    passed_over: dict[str, str] = {}


class Takes(Protocol):
    """What knows for other reasons which items are not to be taken now."""

    def take(self, taker: Taker, leaves: PassesOver | None = None) -> Claim | None:
        """Claim the first item for which neither these reasons nor `leaves` speak against it."""


class Choice:
    """One worker's choice."""

    def __init__(self, project: Project, takes: Takes, names: Names) -> None:
        self._project, self._takes, self._names = project, takes, names
        self._file = Watched(project.state.touching, Touching)
        self._forecast_file = Watched(project.state.forecast, Forecast)
        self._touching, self._forecast = Touching(), Forecast()
        self._passed_over: dict[str, str] = {}  # by us, as long as that is not written
        self._items: dict[str, tuple[int, tuple[str, ...]]] = {}  # priority and paths of items that were looked at
        self._in_work: list[tuple[str, Paths]] = []
        self._is_in_work: dict[str, bool] = {}
        self._asked = 0
        self._least_urgent: int | None = None  # the priority of what this take has passed over

    def take(self, taker: Taker) -> Claim | None:
        """Claim the first item that can be taken and overlaps with nothing in work, else the first that can be."""
        with self._turn():
            self._look()
            claim = self._takes.take(taker, self._overlaps if self._in_work else None)
            if claim is None and self._least_urgent is not None:
                claim = self._takes.take(taker)
            if claim is not None or self._least_urgent is not None:
                self._note(claim)
        return claim

    def _look(self) -> None:
        """See what is in work, as far as it may matter."""
        touching, forecast = self._file.look(), self._forecast_file.look()
        self._asked, self._least_urgent = 0, None
        self._is_in_work.clear()
        if touching is self._touching and forecast is self._forecast:
            return
        self._touching, self._forecast = touching, forecast
        known = {item: Paths(paths) for item, paths in touching.in_work.items()}
        self._in_work = [(item, paths) for item, paths in known.items() if paths]
        self._in_work += [(one.item, Paths(map(escaped, one.paths))) for one in forecast.branches if one.paths]

    # --- what is passed over --------------------------------------------------------------------------

    def _overlaps(self, item_id: str, read: Callable[[], Item | None]) -> bool:
        self._asked += 1
        if self._asked > _MOST_LOOKED_AT:
            raise Enough
        known = self._items.get(item_id)
        if known is None:
            item = read()
            if item is None:
                return False
            known = self._remember(item)
        priority, texts = known
        if self._least_urgent is not None and priority > self._least_urgent:
            raise Enough
        other = self._met_by(item_id, (*texts, *map(escaped, self._forecast.earlier.get(item_id, ()))))
        if other is None or not self._may_wait(item_id, other):
            return False
        self._least_urgent = priority
        return True

    def _remember(self, item: Item) -> tuple[int, tuple[str, ...]]:
        if len(self._items) >= _MOST_REMEMBERED:
            self._items.clear()
        known = self._items[item.id] = (item.priority, paths_of(item, self._names))
        return known

    def _met_by(self, item_id: str, texts: tuple[str, ...]) -> str | None:
        """Return the item in work that touches the same paths, if there is one."""
        if not texts:
            return None
        paths = Paths(texts)
        others = (other for other, touched in self._in_work if other != item_id and touched.meets(paths))
        return next((other for other in others if self._still_in_work(other)), None)

    def _still_in_work(self, item_id: str) -> bool:
        if item_id not in self._is_in_work:
            entry = self._entry(item_id)
            self._is_in_work[item_id] = entry is not None and (entry.last_is("claimed") or entry.last_is("landing"))
        return self._is_in_work[item_id]

    def _waits(self, item_id: str) -> bool:
        entry = self._entry(item_id)
        return entry is not None and entry.takable

    def _entry(self, item_id: str) -> Entry | None:
        try:
            return self._project.queue.entry(item_id)
        except atomic.Unreadable:
            return None

    def _may_wait(self, item_id: str, other: str) -> bool:
        """Whether the item was not passed over for too long, and note that it is now."""
        now = self._project.queue.now()
        since = self._since(item_id)
        if since is not None:
            return later(now, -LONGEST_SECONDS) < since <= now  # also when the clock was put back
        if len(self._passed_over) + len(self._touching.passed_over) >= _MOST_PASSED_OVER:
            return False
        if not self._waits(item_id):  # it was taken, and our listing is older
            return False
        self._passed_over[item_id] = now
        self._project.state.record_event("passed-over", item=item_id, why=f"{other}, in work, touches the same paths")
        return True

    def _since(self, item_id: str) -> str | None:
        known = (self._passed_over.get(item_id), self._touching.passed_over.get(item_id))
        return min((since for since in known if since is not None), default=None)

    # --- what the others are to know ------------------------------------------------------------------

    def _note(self, claim: Claim | None) -> None:
        """Write down what is in work now and what was passed over, if that is news."""
        in_work = {item: paths for item, paths in self._touching.in_work.items() if self._still_in_work(item)}
        passed_over = {item: since for item in self._all_passed_over() if (since := self._since(item))}
        if claim is not None:
            passed_over.pop(claim.item.id, None)
            paths = self._items.get(claim.item.id, (0, None))[1]
            paths = paths_of(claim.item, self._names) if paths is None else paths
            in_work.pop(claim.item.id, None)
            if paths:
                in_work[claim.item.id] = paths
        touching = Touching(in_work, passed_over)
        try:
            if touching != self._touching:
                self._file.write(touching)
        except OSError:  # the others may start what overlaps now: a conflict, no loss
            self._passed_over = passed_over
        else:
            self._passed_over = {}

    def _all_passed_over(self) -> Iterator[str]:
        """Yield what is passed over and still waits; what was cancelled is found out after half an hour."""
        limit = later(self._project.queue.now(), -LONGEST_SECONDS)
        for item_id in {**self._touching.passed_over, **self._passed_over}:
            since = self._since(item_id)
            if since is None or since > limit or self._waits(item_id):
                yield item_id

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Take while nobody else does, unless somebody is stopped while it does."""
        try:
            descriptor = atomic.open_own(self._project.state.taking_lock, os.O_RDWR | os.O_CREAT)
        except OSError:  # no room for it: the taking itself will say so
            yield
            return
        try:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while not _lock(descriptor) and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)
            yield
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
