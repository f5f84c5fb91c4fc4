"""What the worker and the lander have in common: child processes that obey orders and hold a lock for life."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .orders import Orders
from .settings import ConfigError

PLACE_TAKEN = 3  # exit code


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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise PlaceTaken(f"{what} has a living process already; that one is left alone") from None
    return descriptor


def serve(make: Callable[[Orders], Service]) -> int:
    """Run the service that `make` builds, under orders from standard input; return the exit code."""
    orders = Orders()
    orders.obey_terminate()
    orders.obey_stream(sys.stdin.fileno())
    try:
        service = make(orders)
    except PlaceTaken as error:
        sys.stderr.write(f"{error}\n")
        return PLACE_TAKEN
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        service.run()
    finally:
        service.close()
    return 0
