"""What a worker has been told to do, and waiting for it.

A worker reads orders from its standard input, which the coordinator holds open: the lines ``pause``, ``resume`` and
``finish``, which says "finish what you have and take no more". The end of the stream says that the coordinator died, so
nobody has to be alive to tell it; what follows is configured (``on_coordinator_death``): finish, or stop now. SIGTERM
says "stop now"; anybody can send it, a program to its own worker, too, so it is remembered that it was this that said
so.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import weakref
from types import FrameType
from typing import Literal

from ..queue.watching import BellWatch

AtDeath = Literal["finish", "stop"]

_ORPHANS_GRACE_SECONDS = 0.5  # nobody watches any more: what must end ends within a second
_LONGEST_SECONDS = 3600.0  # `select` refuses "for ever", and whoever waits looks again anyway


class Orders:
    """The orders so far. `finishing`: take no more. `stopping`: end the work in hand, too. `paused`: take none now."""

    def __init__(self) -> None:
        self.finishing = False
        self.stopping = False
        self.paused = False
        self.terminated = False  # a signal said stop
        self.orphaned = False  # the coordinator died
        self.grace_seconds = math.inf  # a program that is stopped has no more than this to end by itself
        self._at_death: AtDeath = "finish"
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for descriptor in (self._wake, self._waker):
            weakref.finalize(self, os.close, descriptor)
        self._lines: int | None = None

    def obey_stream(self, descriptor: int) -> None:
        """Take orders from `descriptor` from now on."""
        os.set_blocking(descriptor, False)
        self._lines = descriptor

    def obey_death(self, at_death: AtDeath) -> None:
        """Do this when the coordinator dies, or now if it has died already."""
        self._at_death = at_death
        if self.orphaned:
            self._note_death()

    def obey_terminate(self) -> None:
        """Stop at SIGTERM; SIGINT belongs to the coordinator, which passes on what follows from it."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, self._ignore)  # not SIG_IGN: programs would inherit that and ignore it, too
        signal.signal(signal.SIGTERM, self._stop)

    def obey_staged_signals(self) -> None:
        """Finish at the first SIGINT or SIGTERM, stop at the second."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._next_stage)

    def finish(self) -> None:
        self.finishing = True

    def stop(self) -> None:
        self.finishing = self.stopping = True

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.terminated = True
        self.stop()

    def _ignore(self, _number: int, _frame: FrameType | None) -> None:
        pass

    def _next_stage(self, _number: int, _frame: FrameType | None) -> None:
        if self.finishing:
            self.stopping = True
        self.finishing = True

    def wait(self, seconds: float, *descriptors: int) -> None:
        """Wait until an order comes, one of `descriptors` is readable, or the time is over."""
        watched = [self._wake, *descriptors, *([] if self._lines is None else [self._lines])]
        ready, _, _ = select.select(watched, (), (), min(max(0.0, seconds), _LONGEST_SECONDS))
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if self._lines is not None and self._lines in ready:
            self._read_lines(self._lines)

    def wait_for_ring(self, watch: BellWatch, seconds: float) -> None:
        """Wait as `wait` does, or until the bell rings; what is looked at afterwards is as new as the last ring."""
        self.wait(watch.at_most(seconds), *watch.descriptors)
        watch.drain()

    def _read_lines(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, 4096)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        for line in data.decode(errors="replace").split():
            self.paused = {"pause": True, "resume": False}.get(line, self.paused)
            self.finishing = self.finishing or line == "finish"
        if not data:
            self._lines = None
            self._note_death()

    def _note_death(self) -> None:
        self.orphaned = self.finishing = True
        if self._at_death == "stop":
            self.grace_seconds = _ORPHANS_GRACE_SECONDS
            self.stop()
