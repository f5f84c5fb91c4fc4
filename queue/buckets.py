"""Buckets: files of ready hints, a line each, about a hundred to a file.

    ready/5/2026-01-01T000000.000000Z              what has priority 5 and was added from then on
        5~2026-01-01T000000.000000Z~fix-login~1~builder
        -~2026-01-01T000000.000001Z~add-docs~1~    struck: somebody has taken it

A line is appended by one write, and struck by overwriting its first character in place; readers sort. They are one
file because takers that remove names from one directory wait for each other, and because a file is quickly read.

Guarantees: a bucket is removed only when all of its lines are struck. Who appends shares the lock of the file and
looks whether it still has its name; who removes it holds the lock alone. Nobody waits for a lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import weakref
from collections.abc import Callable, Iterable

from .atomic import Unreadable, open_own, open_to_read

_STRUCK = "-~"
_LIMIT_BYTES = 16 * 1024 * 1024  # far above a hundred items that come back a hundred times each
_NOT_TO_BE_HAD = (FileNotFoundError, FileExistsError, PermissionError, Unreadable)


class Bucket:
    """One bucket as a taker read it. `names` are those not struck, the first in taking order at the end.

    One that is gone, or is none of ours, has no names.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.close: Callable[[], object] = bool  # lets go of the file until it is needed again
        self._descriptor = -1
        self._places: dict[str, int] = {}
        with contextlib.suppress(*_NOT_TO_BE_HAD):
            self._places = live_lines(_text_of(self._open(), path))
        self.names = sorted(self._places, reverse=True)

    def _open(self) -> int:
        if not self._is_open():
            self._descriptor = open_own(self.path, os.O_RDWR)
            self.close = weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor

    def _is_open(self) -> bool:
        return getattr(self.close, "alive", False)

    def strike(self, name: str) -> None:
        """Mark the line of `name`, so that nobody tries it again; not when something else stands there by now."""
        place = self._places[name]
        if self._is_open() or os.pread(self._open(), len(name) + 1, place) == _line(name):
            os.pwrite(self._descriptor, _STRUCK[:1].encode(), place)

    def remove_if_done(self) -> None:
        """Remove the file when all of its lines are struck and nobody is appending one."""
        with contextlib.suppress(OSError, Unreadable):
            descriptor = self._open()
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not live_lines(_text_of(descriptor, self.path)) and os.fstat(descriptor).st_nlink:
                os.unlink(self.path)  # noqa: PTH108 (text, see Layout)
        self.close()


def append(path: str, names: Iterable[str]) -> bool:
    """Add lines to a bucket, which is made where there is none; False when this one cannot be used.

    Raises FileNotFoundError without its directory, and OSError.
    """
    try:
        descriptor = open_own(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    except FileExistsError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        if not status.st_nlink or status.st_size > _LIMIT_BYTES:
            return False
        if status.st_size and os.pread(descriptor, 1, status.st_size - 1) != b"\n":
            return False  # a full disk cut off the last line: nothing may be added to that
        data = b"".join(map(_line, names))
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def read_text(path: str) -> str:
    """Return all that is in a bucket. Raises FileNotFoundError, and Unreadable for what is none."""
    descriptor = open_to_read(path)
    try:
        return _text_of(descriptor, path)
    finally:
        os.close(descriptor)


def _text_of(descriptor: int, path: str) -> str:
    size = os.fstat(descriptor).st_size
    if size > _LIMIT_BYTES:
        raise Unreadable(path, f"has {size} bytes, more than we ever write")
    return os.pread(descriptor, size, 0).decode("latin-1")  # one character for each byte, whatever it is


def live_lines(text: str) -> dict[str, int]:
    """Return the lines that are not struck, and where they begin.

    The last may be half written; then it has no end and is no name, nor is a bucket that ends with it done.
    """
    places: dict[str, int] = {}
    place = 0
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    else:
        lines[-1] += "\n"
    for line in lines:
        if line[:2] != _STRUCK:
            places[line] = place
        place += len(line) + 1
    return places


def _line(name: str) -> bytes:
    return f"{name}\n".encode("latin-1")
