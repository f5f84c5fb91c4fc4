"""An attempt's output as people can read it: of a program that tells what it does, that; of all else the log itself.

Guarantees: what other commands of the attempt printed, before the program and after it, stands where it was printed.
What a program prints may be anything, and so may what is in place of its files.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from ...harness.dialects.events import Begun, KeptEvent, Over
from ...queue.records import Usage
from ..drawing.narration import Narration
from ..errors import NotThere

_LOOK_SECONDS = 0.2
_PIECE_BYTES = 65536
_LONGEST_LINE = 1_000_000
_decode = msgspec.json.Decoder(KeptEvent).decode


class Growing:
    """A file that may grow, or not be there yet. A program may have put a pipe there, which must not hold us up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.place = 0

    def read(self, end: int | None = None) -> Iterator[bytes]:
        """Yield what is new, up to the byte `end`. Raises NotThere when something else is in its place."""
        if self._file is None:
            self._file = _open(self._path)
        while self._file is not None and (end is None or self.place < end):
            piece = self._file.read(_PIECE_BYTES if end is None else min(_PIECE_BYTES, end - self.place))
            if not piece:
                return
            self.place += len(piece)
            yield piece

    def skip_to(self, place: int) -> None:
        """Go on from the byte `place`, or from the end of what was cut meanwhile."""
        if self._file is not None:
            self.place = self._file.seek(min(place, os.fstat(self._file.fileno()).st_size))

    def size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def raw_pieces(path: Path, ended: Callable[[], bool]) -> Iterator[bytes]:
    """Yield the file's content until it was read after `ended` said yes; nothing when it never comes to be."""
    log = Growing(path)
    try:
        while True:
            last = ended()  # asked before reading: what is written in between is not missed
            yield from log.read()
            if last:
                return
            time.sleep(_LOOK_SECONDS)
    finally:
        log.close()


def readable_pieces(
    path: Path, events: Path, ended: Callable[[], bool], usage: Callable[[], Usage | None]
) -> Iterator[bytes]:
    """Yield the same, with what is in `events` in place of what the program printed; `usage` is by its record."""
    reading = _Reading(Growing(path), Growing(events), usage)
    try:
        while True:
            last = ended()
            yield from reading.look()
            if last:
                yield from reading.end()
                return
            time.sleep(_LOOK_SECONDS)
    finally:
        reading.close()


class _Reading:
    def __init__(self, log: Growing, events: Growing, usage: Callable[[], Usage | None]) -> None:
        self._log, self._events, self._usage = log, events, usage
        self._rest = b""
        self._narration = Narration()
        self._begun: Begun | None = None
        self._is_over = False

    def look(self) -> Iterator[bytes]:
        """Yield what is new."""
        # Before the events: when these do not say that the program has begun, all of it is of other commands.
        size = self._log.size()
        for event in self._new_events():
            if isinstance(event, Begun):
                self._begun = event
                if not event.plain:
                    yield from self._log.read(event.log)
            elif isinstance(event, Over):
                yield from self._end_program(event)
            elif self._begun is not None and self._begun.plain:
                self._narration.note(event)
            else:
                yield from _as_bytes(self._narration.take(event))
        if self._begun is None:
            yield from self._log.read(size)
        elif self._begun.plain or self._is_over:
            yield from self._log.read()

    def _end_program(self, over: Over) -> Iterator[bytes]:
        if self._begun is not None and self._begun.plain:
            yield from self._log.read(over.log)
        elif not self._is_over:
            self._log.skip_to(over.log)
        yield from self._tell_usage()
        self._is_over = True

    def end(self) -> Iterator[bytes]:
        """Yield what is to be said when nothing follows."""
        yield from self._tell_usage()

    def _tell_usage(self) -> Iterator[bytes]:
        if self._begun is not None and not self._is_over:
            yield from _as_bytes(self._narration.end(self._usage()))

    def _new_events(self) -> Iterator[KeptEvent]:
        for piece in self._events.read():
            *lines, self._rest = (self._rest + piece).split(b"\n")
            if len(self._rest) > _LONGEST_LINE:
                self._rest = b""
            for line in lines:
                try:
                    yield _decode(line)
                except (msgspec.MsgspecError, UnicodeError, RecursionError):
                    continue

    def close(self) -> None:
        self._log.close()
        self._events.close()


def _as_bytes(lines: Iterator[str]) -> Iterator[bytes]:
    for line in lines:
        yield f"{line}\n".encode(errors="backslashreplace")


def _open(path: Path) -> BinaryIO | None:
    """Open a log; None when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotThere(f"{path} is not a regular file any more; something replaced it")
    return os.fdopen(descriptor, "rb")
