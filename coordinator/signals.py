"""Signals to the coordinator: how far they have gone, and being woken by them."""

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
        # A terminal that is closed says so more than once, by itself and through the shell: never "now".
        self.stage = max(FINISH, self.stage) if number == signal.SIGHUP else min(STOP, self.stage + 1)

    def wait(self, seconds: float, descriptors: Sequence[int]) -> list[int]:
        """Wait until a signal comes, one of `descriptors` is readable, or the time is over; return which are."""
        ready, _, _ = select.select([self._wake, *descriptors], (), (), seconds)
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        return ready
