"""What a command itself says of how it is doing: in its wait file, and in its output where that is understood."""

from __future__ import annotations

from pathlib import Path

from ..queue import atomic
from .budgets import Cap
from .configuration.units import parse_duration
from .listener import Listener

_LONGEST_WAIT_BYTES = 100
_GRACE_SECONDS = 60.0  # for the try that follows an announced wait
_LONGEST_IN_PLACE_SECONDS = 600.0  # of an announced wait: its place can do something else meanwhile


class Telling:
    """Hears one command: for how long it waits, which it writes into `wait_file`, and what its `listener` hears."""

    def __init__(self, wait_file: Path | None = None, listener: Listener | None = None, cap: Cap | None = None) -> None:
        self._wait_file, self._listener, self._cap = wait_file, listener, cap
        self._wait_mark = _changed_ns(wait_file)
        self._wait_until = 0.0
        self._calls_mark = 0  # how many tools had been called when a file last changed

    def look(self, now: float) -> None:
        """Hear what is new; `now` is that of the monotonic clock."""
        if self._listener is not None:
            self._listener.read()
        changed = _changed_ns(self._wait_file)
        if self._wait_file is None or changed in {0, self._wait_mark}:
            return
        self._wait_mark = changed
        try:
            data = atomic.read_file(self._wait_file, _LONGEST_WAIT_BYTES) or b""
            self._wait_until = now + parse_duration(data.decode().strip())
        except (OSError, ValueError, atomic.Unreadable):
            return

    def wait_seconds(self, now: float) -> float:
        """Return for how much longer it is going to wait, as it said; 0.0 when it did not."""
        announced = 0.0
        if self._listener is not None and self._listener.story.waits is not None:
            story, seconds = self._listener.story, self._listener.story.waits.seconds
            if seconds is not None:
                announced = story.waits_since + seconds + _GRACE_SECONDS - self._listener.seconds
        return max(0.0, self._wait_until - now, announced)

    @property
    def waits_long(self) -> bool:
        """Whether it said that it is going to wait for longer than its place can be held for that."""
        waits = None if self._listener is None else self._listener.story.waits
        return waits is not None and (waits.seconds or 0.0) > _LONGEST_IN_PLACE_SECONDS

    @property
    def costs_too_much(self) -> bool:
        """Whether it costs more than it may; one that has said its last word is ending by itself."""
        if self._cap is None or self._listener is None or self._listener.story.result is not None:
            return False
        return (self._listener.story.usage(self._cap.before).usd or 0.0) > self._cap.usd

    @property
    def tool_open(self) -> bool:
        """Whether it waits for a tool that it has begun."""
        return self._listener is not None and bool(self._listener.story.open_tools)

    @property
    def circles(self) -> bool:
        """Whether it does the same over and over."""
        return self._listener is not None and self._listener.story.trouble is not None

    @property
    def idle_calls(self) -> int:
        """How many tools it called since a file changed."""
        return 0 if self._listener is None else self._listener.story.tools - self._calls_mark

    def note_change(self) -> None:
        """A file has changed."""
        self._calls_mark += self.idle_calls


def _changed_ns(path: Path | None) -> int:
    try:
        return path.stat().st_mtime_ns if path is not None and path.is_file() else 0
    except OSError:
        return 0
