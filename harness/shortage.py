"""Want of room: a full disk or quota, no descriptors, processes or memory left. Nobody's fault, and it passes.

An item that meets it has not failed, and finished work is kept until it can be written down.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import TypeVar

from ..worktrees.errors import GitError

_NUMBERS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,  # what a file system becomes after an error of its disk
    errno.ENOMEM,
    errno.EAGAIN,
    errno.EMFILE,
    errno.ENFILE,
}
_SAID_BY_GIT = re.compile(
    r"no space left on device|disk quota exceeded|read-only file system|cannot allocate memory|out of memory"
    r"|too many open files|resource temporarily unavailable|write error",
    re.IGNORECASE,
)

_T = TypeVar("_T")


def is_shortage(error: BaseException) -> bool:
    """Tell whether `error` says that the machine lacked something for the moment."""
    if isinstance(error, OSError):
        return error.errno in _NUMBERS
    return isinstance(error, GitError) and _SAID_BY_GIT.search(error.stderr) is not None


def once_there_is_room(act: Callable[[], _T], go_on: Callable[[str], bool]) -> _T:
    """Return what `act` returns, trying again as long as it fails for want of room and `go_on` says so.

    `go_on` is told the error; it is where one waits. Raises what `act` raised last.
    """
    while True:
        try:
            return act()
        except (OSError, GitError) as error:
            if not is_shortage(error) or not go_on(str(error)):
                raise
