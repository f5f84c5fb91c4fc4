"""Room to work in, as one worker or the lander sees it: looked at before anything is begun, and waited for.

Guarantees: what is lacking is told once when it begins and once when it is over, in the history of the run and in the
heartbeat, however often it is met in between; a history that had no room for it gets it as soon as there is some.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress

from ..queue import atomic
from .floors import lack_under
from .heart import Heart
from .orders import Orders
from .project import Project
from .shortage import Lack, find_lack, lack_of

ROOM_SECONDS = 1.0  # how soon it is noticed that a disk is not full any more
_FIRST_BREATH_SECONDS = 5.0
_LONGEST_BREATH_SECONDS = 60.0
_BALLAST_BYTES = 65_536  # a record, its draft and a new block of each directory on the way, with blocks of up to 16 KB
_MORE_BYTES = 1_000_000  # so much more free than before is worth another try


class Complaint:
    """What one process lacks, as told in the history of the run: its beginning and its end, each once."""

    def __init__(self, project: Project, name: str | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._record = project.state.record_event
        self._agent = name
        self._told = False
        self._since = 0.0
        self.lack: Lack | None = None

    def tell(self, lack: Lack | None) -> bool:
        """Note what is lacking now; that it became something else meanwhile is no news. True when it is over."""
        if lack is not None:
            if self.lack is None:
                self._since = self._monotonic()
            self.lack = self.lack or lack
            self._told = self._told or self._record("hindered", agent=self._agent, why=self.lack.why)
        elif self.lack is not None:
            seconds = round(self._monotonic() - self._since, 1)
            self._record("unhindered", agent=self._agent, why=self.lack.why, seconds=seconds)
            self._told, self.lack = False, None
            return True
        return False


class Room:
    """The room of one worker or the lander."""

    def __init__(self, project: Project, orders: Orders, heart: Heart, name: str) -> None:
        self._project = project
        self.orders = orders
        self.heart = heart
        self._complaint = Complaint(project, name)
        self._ballast = project.state.agent(name).ballast
        self._breath_seconds = _FIRST_BREATH_SECONDS

    def lack(self) -> Lack | None:
        """Look for what is lacking, and tell of it."""
        found = self._find_lack()
        self._tell(found)
        return found

    def lack_to_begin(self) -> Lack | None:
        """Do the same before an attempt, which is to leave something over: what `floors:` ask for."""
        found = lack_under(self._project.config.floors, self._project.folders) or self._find_lack()
        self._tell(found)
        return found

    @property
    def is_lacking(self) -> bool:
        """Whether something was lacking at the last look."""
        return self._complaint.lack is not None

    @property
    def longest_wait_seconds(self) -> float:
        """How long one may wait for something else: not long while something is lacking."""
        return ROOM_SECONDS if self.is_lacking else math.inf

    @property
    def least_wait_seconds(self) -> float:
        """For how long nothing has to be done: while something is lacking, what is due stays due."""
        return ROOM_SECONDS if self.is_lacking else 0.0

    def wait(self, error: Exception) -> None:
        """Wait a moment for what `error` said is lacking; nobody is taken for silent meanwhile."""
        self._tell(self._find_lack() or lack_of(error))
        self.orders.wait(ROOM_SECONDS)
        self.heart.beat()

    def take_a_breath(self, is_over: Callable[[], bool]) -> None:
        """Wait after an attempt that found no room, until there is more of it than now: its item comes back at once.

        Not at all when what was lacking is there again. The next time twice as long, up to a minute: where `lack`
        finds nothing, only another attempt can tell.
        """
        if self.is_lacking and self.lack() is None:
            return
        end, before = time.monotonic() + self._breath_seconds, self._free_bytes()
        self._breath_seconds = min(_LONGEST_BREATH_SECONDS, 2 * self._breath_seconds)
        while time.monotonic() < end and not is_over() and self._free_bytes() < before + _MORE_BYTES:
            self.orders.wait(min(ROOM_SECONDS, end - time.monotonic()))
            self.heart.beat()

    def breathe_freely(self) -> None:
        """Note that an attempt found the room that it needed."""
        self._breath_seconds = _FIRST_BREATH_SECONDS

    def keep_ballast(self) -> None:
        """Have a file that can be thrown off: it is what the last record of a worker that is to stop is written in."""
        if not self._ballast.exists():
            with suppress(OSError):
                atomic.replace_file(self._ballast, os.urandom(_BALLAST_BYTES))  # noughts might take up no room

    def throw_off_ballast(self) -> bool:
        """Make a little room; False when that was done before."""
        try:
            self._ballast.unlink()
        except OSError:
            return False
        return True

    def _free_bytes(self) -> int:
        """Return how much is free where it is least; 0 where that cannot be known."""
        try:
            found = [os.statvfs(folder) for folder in self._project.folders.values()]
        except OSError:
            return 0
        return min(status.f_bavail * status.f_frsize for status in found)

    def _find_lack(self) -> Lack | None:
        return find_lack(self._project.folders.values())

    def _tell(self, lack: Lack | None) -> None:
        self._complaint.tell(lack)
        self.heart.hinder(lack)
