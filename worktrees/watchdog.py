"""What ends a git command that takes too long, or that nobody waits for any more.

Guarantees: the whole session of the command is ended, its helpers included, first so that git can remove its lock files
(SIGTERM), two seconds later so that nothing can hold out (SIGKILL).
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from contextlib import suppress

_ENDING_SECONDS = 2  # git removes its lock files when it is asked to end; SIGKILL leaves them behind


class Leash:
    """By which another thread ends a command before its time, whether it has been started yet or not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: Watchdog | None = None
        self.is_pulled = False

    def pull(self) -> None:
        """End the command that is held now, and every later one at once."""
        with self._lock:
            self.is_pulled, held = True, self._held
        if held is not None:
            held.bite()

    def hold(self, watchdog: Watchdog | None) -> None:
        """Have this one's command at the end of the leash; None when it has ended."""
        with self._lock:
            self._held = watchdog
            pulled = self.is_pulled
        if pulled and watchdog is not None:
            watchdog.bite()


class Watchdog:
    """Ends the whole session of a command that takes longer than its time: a filter or helper may hang, not git.

    A timer, because `communicate(timeout=…)` polls for the exit and so doubles the cost of every quick command. It is
    started before the command is: where no thread is to be had, nothing was done. Raises BlockingIOError then.
    """

    def __init__(self, seconds: float, leash: Leash | None = None) -> None:
        self.has_bitten = False
        self._allowed_seconds = seconds
        self._leash = leash
        self._session: int | None = None
        self._started = time.monotonic()
        self._done = threading.Event()
        self._timer = threading.Timer(seconds, self.bite)
        self._timer.daemon = True

    @property
    def seconds(self) -> float:
        """For how long the command was let run."""
        return min(self._allowed_seconds, round(time.monotonic() - self._started, 1))

    def __enter__(self) -> Watchdog:
        try:
            self._timer.start()
        except RuntimeError as error:
            raise BlockingIOError(errno.EAGAIN, str(error)) from error
        return self

    def watch(self, session: int) -> None:
        """Watch the command that was started as the first process of `session`."""
        self._session = session
        if self._leash is not None:
            self._leash.hold(self)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._timer.cancel()
        if self._leash is not None:
            self._leash.hold(None)

    def bite(self) -> None:
        """End the command now."""
        if self._session is None or self._done.is_set():
            return
        self.has_bitten = True
        with suppress(ProcessLookupError):
            os.killpg(self._session, signal.SIGTERM)
            if not self._done.wait(_ENDING_SECONDS):
                os.killpg(self._session, signal.SIGKILL)
