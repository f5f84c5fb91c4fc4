"""Telling whoever started us that we are up, that we still turn, and that we end: the protocol of sd_notify(3).

`parallel-loop start` listens as systemd does, so there is one way of being ready. Nothing is sent when nobody listens.

Guarantees: the variables are taken out of the environment, so that no worker and no program speaks for us; that nobody
hears it, or not yet, never delays or ends the run.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

ADDRESS = "NOTIFY_SOCKET"
_VARIABLES = (ADDRESS, "WATCHDOG_USEC", "WATCHDOG_PID")
_NOT_FOR_PROGRAMS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")  # sockets that somebody else was to be given
_LOOK_SECONDS = 0.1  # how soon a first sign of life of the workers is passed on


class Notifier:
    """Speaks to the datagram socket at `address`; to nobody when that is empty."""

    def __init__(self, address: str = "", watchdog_seconds: float = math.inf) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period_seconds = watchdog_seconds / 2
        self._alive_at = 0.0
        self.is_awaited = address != ""  # somebody waits for `ready`

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Take out of `environ` who is to be told, and how often."""
        for name in _NOT_FOR_PROGRAMS:
            environ.pop(name, None)
        address, period, pid = (environ.pop(name, "") for name in _VARIABLES)
        watched = address and period.isdecimal() and int(period) > 0 and pid in {"", str(os.getpid())}
        return cls(address, int(period) / 1e6 if watched else math.inf)

    @property
    def due(self) -> float:
        """When there is something to tell at the latest (monotonic seconds)."""
        return time.monotonic() + _LOOK_SECONDS if self.is_awaited else self._alive_at + self._period_seconds

    def ready(self, status: str, *, watched: bool = True) -> None:
        """Say that we are up. Without `watched`, nobody is to expect a sign of life from now on."""
        self.is_awaited = False
        if not watched:
            self._period_seconds = math.inf
        self._send(f"READY=1\nSTATUS={_line(status)}" + ("" if watched else "\nWATCHDOG_USEC=0"))

    def alive(self) -> None:
        """Say that the main loop turns, where that is wanted, twice as often as it is expected.

        For the main loop only: a thread would go on saying so while the loop hangs.
        """
        now = time.monotonic()
        if now >= self._alive_at + self._period_seconds:
            self._alive_at = now
            self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        """Say that we are about to end."""
        self._send(f"STOPPING=1\nSTATUS={_line(status)}")

    def _send(self, text: str) -> None:
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
                speaker.setblocking(False)
                speaker.sendto(text.encode(errors="replace"), self._address)


def _line(text: str) -> str:
    return " ".join(text.split())
