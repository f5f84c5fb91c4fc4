"""Listening to a program while it runs: its output, read as it comes, becomes events and their story.

Guarantees: what was read is in the file of events, one JSON object a line, which stays bounded; a program that prints
faster than it can be read is caught up with at the next whole line, and neither memory nor disk nor the time of a look
grow with what it prints. Its last words are heard, however much came before them. Nothing that it prints or puts in
place of its log stops the work.

Assumes: `read` is called often, and whoever cuts the middle out of the log tells it by `note_cut`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from ..queue import atomic
from .dialects.dialect import LONGEST_LINE, Dialect
from .dialects.events import AnyEvent, Begun, Fault, KeptEvent, Over, Printed, Result, Session, Used, brief
from .dialects.story import Story
from .logs import open_log

_PIECE_BYTES = 250_000
_MOST_SECONDS = 1.0  # of reading before the worker sees to other things
_MOST_SECONDS_AT_END = 5.0  # nobody beats meanwhile
_LAST_BYTES = 4_000_000  # that are read when it has ended, whatever was left out
_MOST_AT_ONCE = 1000  # events that wait to be written down
_MOST_BEHIND_BYTES = 64_000_000  # a second of reading; whoever prints that much says nothing that must be known
_MOST_EVENT_BYTES = 10_000_000  # of a file of events; after that only what counts, and no more than as much again
_ALWAYS_KEPT = (Session, Fault, Used, Result, Begun, Over)
_MOST_RESULT_BYTES = 64_000_000


class Listener:
    """Hears what is written to `log` from its present end on, in `dialect`."""

    def __init__(
        self,
        dialect: Dialect,
        log: Path,
        events: Path,
        result_file: Path | None = None,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dialect, self._log, self._events, self._result_file = dialect, log, events, result_file
        self._wall, self._monotonic = wall, monotonic
        self._start = monotonic()
        self._place = _size(log)
        self._rest = b""
        self._written = 0
        self._skips = False  # to the next whole line
        self.story = Story()
        with contextlib.suppress(OSError):
            events.unlink(missing_ok=True)
        self._write([Begun(log=self._place, plain=dialect.objects is None)])

    @property
    def seconds(self) -> float:
        """For how long it has been listening: the clock of the events."""
        return self._monotonic() - self._start

    def read(self) -> None:
        """Take in what was printed since the last time, or the first of it."""
        self._read(_MOST_SECONDS)

    def _read(self, most_seconds: float) -> None:
        size = _size(self._log)
        if size == self._place:
            return
        if size < self._place:  # somebody else cut it
            self._skip_to(size)
            return
        if size - self._place > _MOST_BEHIND_BYTES:
            self._skip_to(size - _MOST_BEHIND_BYTES // 2)
        found = list[KeptEvent]()
        until = time.monotonic() + most_seconds
        with contextlib.suppress(OSError), os.fdopen(atomic.open_own(self._log, os.O_RDONLY), "rb") as log:
            log.seek(self._place)
            while self._place < size and time.monotonic() < until:
                data = log.read(min(_PIECE_BYTES, size - self._place))
                if not data:
                    break
                self._place += len(data)
                self._take(data, found)
        self._write(found)

    def _skip_to(self, place: int) -> None:
        """Go on reading at the first whole line after `place`."""
        self._place, self._rest, self._skips = place, b"", True

    def note_cut(self, begin: int, gone: int) -> None:
        """Take note that so many bytes before the end of the log are gone, which now begins at `begin`."""
        if gone <= 0:
            return
        self._place -= gone
        if self._place < begin:
            self._skip_to(begin)

    def end(self) -> Story:
        """Take in what is left when the program has ended, with what it wrote into its result file."""
        self._read(_MOST_SECONDS_AT_END)
        last = _size(self._log) - _LAST_BYTES
        if self._place < last:
            self._skip_to(last)
            self._read(_MOST_SECONDS_AT_END)
        found = list[KeptEvent]()
        if self._rest and not self._skips:
            self._hear(self._rest, found)
            self._rest = b""
        if self._dialect.document is not None and self._result_file is not None:
            with contextlib.suppress(OSError, atomic.Unreadable):
                data = atomic.read_file(self._result_file, _MOST_RESULT_BYTES)
                for event in self._dialect.read_document(data or b"", self._wall()):
                    self._note(event, found)
        self._write(found)
        return self.story

    def close(self) -> None:
        """Note where in the log other commands follow, now that it will not be cut any more for this one."""
        self._write([Over(log=_size(self._log), at=round(self.seconds, 3))])

    def _take(self, data: bytes, found: list[KeptEvent]) -> None:
        first, *lines = data.split(b"\n")
        if not lines:
            if len(self._rest) <= LONGEST_LINE:
                self._rest += first
            return
        if not self._skips:
            self._hear(self._rest + first, found)
        self._skips = False
        for line in lines[:-1]:
            self._hear(line, found)
        self._rest = lines[-1]

    def _hear(self, line: bytes, found: list[KeptEvent]) -> None:
        if not line:
            return
        before = len(found)
        for event in self._dialect.read(line, self._wall()):
            self._note(event, found)
        if len(found) == before and self._has_room and self._tells_nothing(line):
            text = brief(line[:LONGEST_LINE].decode(errors="replace").rstrip())
            found.append(Printed(text=text, at=round(self.seconds, 3)))

        if len(found) >= _MOST_AT_ONCE:
            self._write(found)
            found.clear()

    def _tells_nothing(self, line: bytes) -> bool:
        return self._dialect.objects is not None and not line.lstrip().startswith(b"{")

    @property
    def _has_room(self) -> bool:
        """Whether the file of events takes more than what counts."""
        return self._written <= _MOST_EVENT_BYTES

    def _note(self, event: AnyEvent, found: list[KeptEvent]) -> None:
        event = msgspec.structs.replace(event, at=round(self.seconds, 3))
        self.story.take(event)
        found.append(event)

    def _write(self, found: Iterable[KeptEvent]) -> None:
        lines = list[bytes]()
        for event in found:
            line = msgspec.json.encode(event) + b"\n"
            most = 2 * _MOST_EVENT_BYTES if isinstance(event, _ALWAYS_KEPT) else _MOST_EVENT_BYTES
            if self._written + len(line) <= most:
                lines.append(line)
                self._written += len(line)
        if not lines:
            return
        with contextlib.suppress(OSError), open_log(self._events) as file:
            file.write(b"".join(lines))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
