"""What ends a git command that takes too long, or that nobody waits for any more.

Guarantees: the whole session of the command is ended, its helpers included, first so that git can remove its lock files
(SIGTERM), two seconds later so that nothing can hold out (SIGKILL).

One thread watches all commands of the process. It is woken only for a command whose time is up before that of each
that came before it, so a quick command costs no change of threads. `communicate(timeout=…)` polls for the exit, which
doubles the cost of a quick command; a timer for each adds a tenth, and more where processors are busy.
"""

from __future__ import annotations

import errno
import math
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


class Watch:
    """The thread that bites for every watchdog whose time is up."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Watchdog, float] = {}
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def add(self, watchdog: Watchdog, at: float) -> None:
        """Have `watchdog` bite at a time of the monotonic clock. Raises RuntimeError when there is no thread for it."""
        with self._changed:
            if self._thread is None or not self._thread.is_alive():  # none lives on after a fork
                thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                thread.start()
                self._thread = thread
            self._due[watchdog] = at
            if at < self._wakes_at:
                self._changed.notify()

    def drop(self, watchdog: Watchdog) -> None:
        """Forget `watchdog`, whose command has ended."""
        with self._changed:
            self._due.pop(watchdog, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                late = [watchdog for watchdog, at in self._due.items() if at <= now]
                for watchdog in late:
                    del self._due[watchdog]
                if not late:
                    self._wakes_at = min(self._due.values(), default=math.inf)
                    self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
            for watchdog in late:
                watchdog.bite()


_watch = Watch()


class Watchdog:
    """Ends the whole session of a command that takes longer than its time: a filter or helper may hang, not git.

    Its time runs before the command is started: where no thread is to be had, nothing was done. Raises BlockingIOError
    then.
    """

    def __init__(self, seconds: float, leash: Leash | None = None) -> None:
        self.has_bitten = False
        self._allowed_seconds = seconds
        self._leash = leash
        self._session: int | None = None
        self._started = time.monotonic()
        self._ends_at = self._started + seconds
        self._done = threading.Event()

    @property
    def seconds(self) -> float:
        """For how long the command was let run."""
        return min(self._allowed_seconds, round(time.monotonic() - self._started, 1))

    def __enter__(self) -> Watchdog:
        try:
            _watch.add(self, self._ends_at)
        except RuntimeError as error:
            raise BlockingIOError(errno.EAGAIN, str(error)) from error
        return self

    def watch(self, session: int) -> None:
        """Watch the command that was started as the first process of `session`."""
        self._session = session
        if self._leash is not None:
            self._leash.hold(self)
        if time.monotonic() >= self._ends_at:  # before there was anything to bite
            self.bite()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        _watch.drop(self)
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
