"""Waiting for the bell without looking at it again and again: the kernel says when the file changes.

Guarantees: a ring after `drain` makes `descriptors` readable, so that who drains first, then looks at the queue,
then waits, misses none. The file of the bell may be removed or replaced: the next drain goes over to the one that
has its name. Where the kernel says nothing, `at_most` is short: then the waiting look themselves.

Assumes: those who ring write to the file on this machine. On a file system where others write to it as well, the
first ring that was seen and not told of ends the trust in the kernel.
"""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from .bell import Bell

POLL_SECONDS = 0.1


class Source(Protocol):
    """What can tell of changes of a file."""

    name: str
    descriptor: int

    def follow(self, path: str, descriptor: int) -> None:
        """Watch the file of this name, open as `descriptor`, and no other any more. Raises OSError."""

    def drain(self) -> bool:
        """Forget what was told so far; False when there was nothing."""

    def close(self) -> None:
        """Give everything up."""


if sys.platform == "linux":
    from .inotify import Inotify

    def kernel_source() -> Source:
        """Return what this system has. Raises OSError where it has nothing, or has no more of it."""
        return Inotify()

else:

    class Kqueue:
        """What macOS and the BSDs have: it watches an open file."""

        name = "kqueue"

        def __init__(self) -> None:
            self._queue = select.kqueue()
            self.descriptor = self._queue.fileno()

        def follow(self, _path: str, descriptor: int) -> None:
            """Watch the open file; closing the old one ended its watch."""
            changes = select.KQ_NOTE_WRITE | select.KQ_NOTE_DELETE | select.KQ_NOTE_RENAME
            flags = select.KQ_EV_ADD | select.KQ_EV_CLEAR
            self._queue.control([select.kevent(descriptor, select.KQ_FILTER_VNODE, flags, changes)], 0, 0)

        def drain(self) -> bool:
            """Forget what was told so far."""
            return bool(self._queue.control(None, 8, 0))

        def close(self) -> None:
            """Close the queue, and with it all it watches."""
            self._queue.close()

    def kernel_source() -> Source:
        """Return what this system has. Raises OSError where it has nothing, or has no more of it."""
        return Kqueue()


class BellWatch:
    """Tells one waiting process that the bell rang."""

    def __init__(
        self,
        bell: Bell,
        make: Callable[[], Source] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bell = bell
        self._monotonic = monotonic
        self._source: Source | None = None
        self._removed = False
        self._doubted_since: float | None = None
        self.refusal: OSError | None = None
        try:
            self._source = (make or kernel_source)()
            self._follow()
        except OSError as error:
            self._give_up(error)
        self._heard = bell.heard()

    @property
    def way(self) -> str:
        """How it is noticed that the bell rang: `inotify`, `kqueue` or `polling`."""
        return "polling" if self._source is None else self._source.name

    @property
    def descriptors(self) -> Sequence[int]:
        """What becomes readable when the bell rings; nothing where one has to look."""
        return () if self._source is None else (self._source.descriptor,)

    def at_most(self, seconds: float) -> float:
        """Return for how long one may wait who would otherwise wait for `seconds`."""
        if self._source is None or self._removed or self._doubted_since is not None:
            return min(seconds, POLL_SECONDS)
        return seconds

    def drain(self) -> None:
        """Note what was told so far. To be called after waiting and before looking at the queue."""
        told = self._source is None or self._source.drain()
        if not self._bell.is_current():
            told, self._removed = True, not self._go_over()
        self._believe(told=told)

    def _go_over(self) -> bool:
        """Watch the file that has the bell's name now; False when there is none yet."""
        try:
            self._bell.reopen()
        except OSError:
            return False
        try:
            self._follow()
        except OSError as error:
            self._give_up(error)
        return True

    def _follow(self) -> None:
        """Watch the file that the bell has open. One that is replaced in between is told of, or is not current."""
        if self._source is not None:
            self._source.follow(self._bell.path, self._bell.fileno())

    def _believe(self, *, told: bool) -> None:
        """Give a source up that does not tell of rings: it may be a moment late, since the bell is written first."""
        before, self._heard = self._heard, self._bell.heard()
        if told:
            self._doubted_since = None
        elif self._doubted_since is None:
            if before != self._heard:
                self._doubted_since = self._monotonic()
        elif self._monotonic() - self._doubted_since >= POLL_SECONDS:
            self._give_up(None)

    def _give_up(self, refusal: OSError | None) -> None:
        self.refusal = refusal
        self.close()

    def close(self) -> None:
        """Let go of what the kernel holds for us; the bell stays open."""
        if self._source is not None:
            self._source.close()
            self._source = None
