"""Signals to the coordinator: how far they have gone, and being woken by them.

SIGHUP has two meanings. A process with a terminal is told by it that the terminal was closed: finish. One that never
had a terminal cannot have lost it: there it is what it is to every daemon, "read your configuration again".
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Sequence
from types import FrameType, TracebackType

FINISH, STOP = 1, 2


class Signals:
    """Obeys SIGINT, SIGTERM and SIGHUP inside a `with` block; puts back what was there before.

    `stage` is 0, then FINISH after the first, then STOP after the second.
    """

    def __init__(self) -> None:
        self.stage = 0
        self._reload = False
        self._has_terminal = _has_terminal()  # looked at now: when it is closed, it is too late
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Signals:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # with nohup, the run outlives the terminal
            numbers.append(signal.SIGHUP)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._hear) for number in numbers}
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self._wake)
        os.close(self._waker)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self.stage = min(STOP, self.stage + 1)
        elif self._has_terminal:
            # A terminal that is closed says so more than once, by itself and through the shell: never "now".
            self.stage = max(FINISH, self.stage)
        else:
            self._reload = True

    def reload_was_asked(self) -> bool:
        """Whether somebody has asked since the last call that the configuration be read again."""
        asked, self._reload = self._reload, False
        return asked

    def wait(self, seconds: float, descriptors: Sequence[int]) -> list[int]:
        """Wait until a signal comes, one of `descriptors` is readable, or the time is over; return which are."""
        ready, _, _ = select.select([self._wake, *descriptors], (), (), seconds)
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        return ready


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal, wherever its input and output go."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
