"""Buckets: files of ready hints, a line each, about a hundred to a file.

    ready/5/2026-01-01T000000.000000Z              what has priority 5 and was added from then on
        5~2026-01-01T000000.000000Z~fix-login~1~builder
        -~2026-01-01T000000.000001Z~add-docs~1~    struck: somebody has taken it

A line is appended by one write, and struck by overwriting its first character in place; readers sort. They are one
file because takers that remove names from one directory wait for each other, and because a file is quickly read.

Guarantees: a bucket is removed only when all of its lines are struck. Who appends shares the lock of the file and
looks whether it still has its name; who removes it holds the lock alone. Nobody waits for a lock. What holds other
lines, or cannot be written to, is neither changed nor removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import weakref
from collections.abc import Callable, Iterable

from .atomic import Unreadable, open_own, open_to_read

_STRIKE = b"-"
_LIVE = re.compile(r"^\d~[^~\n]*~[^~\n]*~\d+~[^~\n]*(?=\n)", re.MULTILINE)
_NOT_STRUCK = re.compile(r"^(?!-~)", re.MULTILINE)
_OTHER = re.compile(r"^(?!-~|\d~[^~\n]*~[^~\n]*~\d+~[^~\n]*$)", re.MULTILINE)
_LIMIT_BYTES = 16 * 1024 * 1024  # far above a hundred items that come back a hundred times each
_ONLY_TO_READ = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ETXTBSY}


class Bucket:
    """One bucket as a taker read it. `names` are those not struck, the first in taking order at the end.

    One that is gone, or cannot be read, has no names.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.close: Callable[[], object] = bool  # lets go of the file until it is needed again
        self._descriptor = -1
        self._was_closed = False
        self._places: dict[str, int] = {}
        with contextlib.suppress(OSError, Unreadable):
            self._places = live_lines(_text_of(self._open(), path))
        self.names = sorted(self._places, reverse=True)

    def _open(self) -> int:
        if not self._is_open():
            self._was_closed = self._descriptor >= 0
            try:
                self._descriptor = open_own(self.path, os.O_RDWR)
            except OSError as error:  # items in a bucket that only another user may write to are takable all the same
                if error.errno not in _ONLY_TO_READ:
                    raise
                self._descriptor = open_own(self.path, os.O_RDONLY)
            self.close = weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor

    def _is_open(self) -> bool:
        return getattr(self.close, "alive", False)

    def strike(self, name: str) -> None:
        """Mark the line of `name`, so that nobody tries it again; not in another file that has the path by now."""
        descriptor, place = self._open(), self._places[name]
        if not self._was_closed or os.pread(descriptor, len(name) + 1, place) == _line(name):
            os.pwrite(descriptor, _STRIKE, place)

    def remove_if_done(self) -> None:
        """Remove the file when all of its lines are struck and nobody is appending one."""
        with contextlib.suppress(OSError, Unreadable):
            descriptor = self._open()
            if _is_done(_text_of(descriptor, self.path)):  # locked only then: who appends to another must not meet us
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_done(_text_of(descriptor, self.path)) and _has_its_name(descriptor, self.path):
                    os.unlink(self.path)  # noqa: PTH108 (text, see Layout)
        self.close()


def append(path: str, names: Iterable[str]) -> bool:
    """Add lines to a bucket, which is made where there is none; False when this one cannot be used.

    Raises FileNotFoundError without its directory, and OSError.
    """
    try:
        descriptor = open_own(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    except OSError as error:
        if isinstance(error, FileExistsError) or (error.errno in _ONLY_TO_READ and os.path.lexists(path)):
            return False
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        size = os.fstat(descriptor).st_size
        data = b"".join(map(_line, names))
        if size + len(data) > _LIMIT_BYTES or not _has_its_name(descriptor, path):
            return False
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            return False  # a full disk cut off the last line: nothing may be added to that
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _has_its_name(descriptor: int, path: str) -> bool:
    """Tell whether the open file is the one of that path; how many names it has does not tell, as after `cp -al`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


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
    """Return the lines that look like hints and are not struck, and where they begin; not one without an end."""
    return {found[0]: found.start() for found in _LIVE.finditer(text)}


def has_other_lines(text: str) -> bool:
    """Tell whether there is something else than hints and what was struck, such as a line that is cut off."""
    return bool(text) and (text[-1] != "\n" or _OTHER.search(text[:-1]) is not None)


def _is_done(text: str) -> bool:
    return not text or (text[-1] == "\n" and _NOT_STRUCK.search(text[:-1]) is None)


def _line(name: str) -> bytes:
    return f"{name}\n".encode("latin-1")
