"""Want of room: a full disk or quota, no descriptors, processes or memory left. Nobody's fault, and it passes.

An item that meets it has not failed, and finished work is kept until it can be written down.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from ..worktrees.errors import GitError

_OF_FILE_SYSTEMS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # the last after an error of the disk
_NUMBERS = {*_OF_FILE_SYSTEMS, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE}
_SAID_BY_GIT = re.compile(
    r"no space left on device|disk quota exceeded|read-only file system|cannot allocate memory|out of memory"
    r"|too many open files|resource temporarily unavailable|write error",
    re.IGNORECASE,
)
_WORDS = {errno.EAGAIN: "No process or thread can be started"}  # the system's own words tell nobody what to do
_ROOM_BYTES = 1_000_000  # a small commit and its records; what needs more is told by `floors`, or by git
_DESCRIPTORS = 16  # git wants six at once, and a look at the queue a few

_T = TypeVar("_T")


class Lack(msgspec.Struct, frozen=True):
    """What there is no room for, and the one command to begin with."""

    why: str
    next: str

    def is_like(self, other: Lack | None) -> bool:
        """Whether the same is to be done about it: amounts change, and so do the words for the same want."""
        return other is not None and self.next == other.next


def is_shortage(error: BaseException) -> bool:
    """Tell whether `error` says that the machine lacked something for the moment."""
    if isinstance(error, OSError):
        return error.errno in _NUMBERS
    return isinstance(error, GitError) and _SAID_BY_GIT.search(error.stderr) is not None


def once_there_is_room(act: Callable[[], _T], go_on: Callable[[OSError | GitError], bool]) -> _T:
    """Return what `act` returns, trying again as long as it fails for want of room and `go_on` says so.

    `go_on` is told the error; it is where one waits. Raises what `act` raised last.
    """
    while True:
        try:
            return act()
        except (OSError, GitError) as error:
            if not is_shortage(error) or not go_on(error):
                raise


def find_lack(directories: Iterable[Path]) -> Lack | None:
    """Try what every attempt needs: to write in each of `directories`, to open files, to start a thread.

    To write is the only way to know: of quotas, of inodes that a file system makes as it goes and of blocks that are
    kept for root, free space says nothing. The file has no name where the system can do that, so a kill leaves none.
    """
    where = None
    try:
        _open_some()
        _start_a_thread()
        for where in directories:
            with contextlib.suppress(FileNotFoundError):  # it is made again when it is needed
                _write_some(where)
    except OSError as error:
        return lack_of(error, where) if is_shortage(error) else None
    return None


def _open_some() -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(_DESCRIPTORS):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _start_a_thread() -> None:
    """The kernel counts threads and processes alike, and this is quicker than a process."""
    thread = threading.Thread(target=bool)
    try:
        thread.start()
    except RuntimeError as error:
        raise BlockingIOError(errno.EAGAIN, "no process or thread can be started") from error
    thread.join()


def _write_some(directory: Path) -> None:
    from tempfile import TemporaryFile

    with TemporaryFile(dir=directory, buffering=0) as file:
        left = _ROOM_BYTES
        while left > 0:
            left -= os.write(file.fileno(), bytes(left))


def lack_of(error: Exception, where: Path | None = None) -> Lack:
    """Say what `error` complains of."""
    if not isinstance(error, OSError):
        return Lack(" ".join(str(error).split()), "parallel-loop doctor")
    place = None
    if error.errno in _OF_FILE_SYSTEMS:
        place = os.fspath(where) if where is not None else os.fsdecode(error.filename) if error.filename else None
    problem = _WORDS.get(error.errno or 0) or (os.strerror(error.errno) if error.errno else str(error))
    return Lack(f"{problem} ({place})" if place else problem, _remedy(error.errno, place))


def _remedy(number: int | None, place: str | None) -> str:
    there = shlex.quote(place or ".")
    remedies = {
        errno.ENOSPC: f"df {'-i' if _has_no_inodes(place) else '-h'} {there}",
        errno.EDQUOT: "quota -s",
        errno.EROFS: f"findmnt --target {there}",
        errno.EMFILE: f"prlimit --pid {os.getpid()} --nofile=4096",
        errno.ENFILE: "cat /proc/sys/fs/file-nr",
        errno.EAGAIN: f"prlimit --pid {os.getpid()} --nproc=8192",
        errno.ENOMEM: "free -m",
    }
    return remedies.get(number or 0, "parallel-loop doctor")


def _has_no_inodes(place: str | None) -> bool:
    try:
        status = os.statvfs(place or ".")
    except OSError:
        return False
    return bool(status.f_files) and status.f_favail == 0
