"""What the worker and the lander have in common: child processes that obey orders and hold a lock for life."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..queue.atomic import Unreadable, Unsuitable, open_own
from ..queue.store import NewerFormat
from ..worktrees.errors import GitError, GitMissing, GitTooOld, WorktreeGone
from ..worktrees.landing import Superseded
from ..worktrees.locks import LockTimeout
from ..worktrees.pool import ForeignDirectory
from ..worktrees.repository import BareRepository, EmptyRepository, NotARepository
from .configuration.settings import ConfigError
from .orders import Orders
from .shortage import is_shortage

CONFIG_WRONG = 2  # exit codes, as those of the command line
PLACE_TAKEN = 3
ENVIRONMENT = 4
NO_ROOM = 75  # EX_TEMPFAIL of sysexits.h: what was lacking passes by itself
_FROM_OUTSIDE = (
    *(NotARepository, BareRepository, EmptyRepository, GitMissing, GitTooOld, GitError, WorktreeGone),
    *(ForeignDirectory, LockTimeout, NewerFormat, Unreadable, Unsuitable, OSError),
)


class PlaceTaken(Exception):
    """Another living process does what this one was started for."""


class Service(Protocol):
    """What a child process is for."""

    def run(self) -> None:
        """Do it until the orders say to finish."""

    def close(self) -> None:
        """Let go of everything."""


def hold_for_life(path: Path, what: str) -> int:
    """Lock `path` until the descriptor that is returned is closed or the process ends.

    Raises PlaceTaken, naming `what`, when another process holds it. The file stays: to unlink it would
    let a second process lock a file of the same name.
    """
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise PlaceTaken(f"{what} has a living process already; that one is left alone") from None
    return descriptor


def serve(make: Callable[[Orders], Service]) -> int:
    """Run the service that `make` builds, under orders from standard input; return the exit code.

    What the world around us refuses is told in one line on standard error, which the coordinator shows when it
    gives the place up; a traceback there is a bug.
    """
    orders = Orders()
    orders.obey_terminate()
    orders.obey_stream(sys.stdin.fileno())
    try:
        service = make(orders)
        try:
            service.run()
        finally:
            service.close()
    except (PlaceTaken, Superseded) as error:
        return _end(PLACE_TAKEN, error)
    except ConfigError as error:
        return _end(CONFIG_WRONG, error)
    except _FROM_OUTSIDE as error:
        return _end(NO_ROOM if is_shortage(error) else ENVIRONMENT, error)
    return 0


def _end(code: int, error: Exception) -> int:
    with contextlib.suppress(OSError):  # the log is on the disk that may be full; the code says enough
        os.write(sys.stderr.fileno(), " ".join(str(error).split()).encode(errors="backslashreplace") + b"\n")
    return code
